package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// The test binary plays every process: crier itself, and those in TestMain that a
// shell would be needed for.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"crier":      main,
		"first":      first,
		"inside":     inside,
		"nobody":     nobody,
		"onterminal": onTerminal,
		"tofull":     toFull,
	})
}

func TestScripts(t *testing.T) {
	heedHangups(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
		Setup:               setUp,
		Condition:           condition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"await":        awaitOutput,
			"bytes":        bytesFile,
			"certificates": certificates,
			"child":        child,
			"clog":         clog,
			"code":         code,
			"eventually":   eventually,
			"everyline":    everyLine,
			"finish":       finish,
			"flood":        floodFile,
			"hangup":       hangup,
			"input":        input,
			"mute":         mute,
			"nothing":      nothing,
			"pour":         pour,
			"signal":       sendSignal,
			"sip":          sip,
			"start":        start,
			"visited":      visited,
			"where":        where,
			"zeros":        zerosFile,
		},
	})
}

// heedHangups undoes for the children what nohup, or a build server, may have done
// to this process: a hangup that is ignored here is ignored there.
func heedHangups(t *testing.T) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	t.Cleanup(func() { signal.Stop(hangups) })
}

// setUp gives each script run directories of its own. OPEN is one that other
// users reach too.
func setUp(env *testscript.Env) error {
	open, err := os.MkdirTemp("/tmp", "crier-test")
	if err != nil {
		return err
	}
	env.Defer(func() { os.RemoveAll(open) })
	if err := os.Chmod(open, 0o755); err != nil {
		return err
	}
	env.Setenv("OPEN", open)
	if env.Getenv("GORACE") == "" {
		env.Setenv("GORACE", "atexit_sleep_ms=0") // else every process takes a second to end
	}
	runtime := filepath.Join(env.WorkDir, "run")
	env.Setenv("XDG_RUNTIME_DIR", runtime)
	env.Setenv("RUN", filepath.Join(runtime, "crier"))
	b := &backgrounds{named: map[string]*background{}, mute: map[string]net.Listener{}}
	env.Values[backgroundsKey{}] = b
	env.Defer(b.end)
	return os.Mkdir(runtime, 0o700)
}

func condition(name string) (bool, error) {
	switch name {
	case "root":
		return os.Getuid() == 0, nil
	case "namespaces":
		return haveNamespaces(), nil
	}
	return false, fmt.Errorf("unknown condition %q", name)
}

// code N PROGRAM ARGS... runs a program that must end with exit code N.
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N program args...")
	}
	expectCode(ts, args[0], ts.Exec(args[1], args[2:]...))
}

// eventually PATTERN PROGRAM ARGS... runs a program, again and again until it
// prints what is expected, for what can only be asked and is never told.
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: eventually pattern program args...")
	}
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	for late := time.Now().Add(patience); time.Now().Before(late); {
		if err := ts.Exec(args[1], args[2:]...); err == nil && pattern.MatchString(ts.ReadFile("stdout")) {
			return
		}
	}
	ts.Fatalf("never printed %q", args[0])
}

func expectCode(ts *testscript.TestScript, want string, err error) {
	got := "0"
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exitText(exit.ProcessState)
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %s, want %s", got, want)
	}
}

// exitText is an exit code, or a signal's name.
func exitText(state *os.ProcessState) string {
	if status := state.Sys().(syscall.WaitStatus); status.Signaled() {
		return status.Signal().String()
	}
	return strconv.Itoa(state.ExitCode())
}

// zeros N FILE writes a file of N zero bytes.
func zerosFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: zeros n file")
	}
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), make([]byte, n), 0o644))
}

// bytes HEX FILE writes a file of these bytes.
func bytesFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: bytes hex file")
	}
	b, err := hex.DecodeString(args[0])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), b, 0o644))
}

// flood FILE writes a file of lines that are together more than a queue and a
// window hold.
func floodFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: flood file")
	}
	line := strings.Repeat("x", 900_000) + "\n"
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Repeat(line, 12)), 0o644))
}

// nobody runs crier as another user, one that no rule admits.
func nobody() {
	const other = 54321
	for _, err := range []error{syscall.Setgroups(nil), syscall.Setgid(other), syscall.Setuid(other)} {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(99)
		}
	}
	main()
}

// toFull runs a program whose standard output has no room.
func toFull() {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(99)
	}
	cmd := exec.Command(os.Args[1], os.Args[2:]...)
	cmd.Stdout, cmd.Stderr = full, os.Stderr
	cmd.Run()
	os.Exit(cmd.ProcessState.ExitCode())
}

// nothing left checks that no process of the script is left, and no socket. It
// waits for those that are about to end by themselves.
func nothing(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 || args[0] != "left" {
		ts.Fatalf("usage: nothing left")
	}
	for _, p := range processesOf(ts.Getenv("WORK")) {
		if !awaitEnd(p.pid) {
			ts.Fatalf("still there: pid %d, %s", p.pid, p.command)
		}
	}
	err := filepath.WalkDir(ts.Getenv("WORK"), func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type()&os.ModeSocket != 0 {
			return fmt.Errorf("socket left: %s", path)
		}
		return nil
	})
	ts.Check(err)
}

// child VARIABLE TEXT sets a variable to the pid of the process of the script
// whose command line holds the text. It waits for there to be one.
func child(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: child variable text")
	}
	for late := time.Now().Add(patience); time.Now().Before(late); {
		for _, p := range processesOf(ts.Getenv("WORK")) {
			if strings.Contains(p.command, args[1]) {
				ts.Setenv(args[0], strconv.Itoa(p.pid))
				return
			}
		}
	}
	ts.Fatalf("no process with %q", args[1])
}

type scriptProcess struct {
	pid     int
	command string
}

// processesOf returns the processes that have the script's work directory in
// their environment.
func processesOf(work string) []scriptProcess {
	var list []scriptProcess
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		environment, _ := os.ReadFile(filepath.Join("/proc", entry.Name(), "environ"))
		if !strings.Contains("\x00"+string(environment), "\x00WORK="+work+"\x00") {
			continue
		}
		command, _ := os.ReadFile(filepath.Join("/proc", entry.Name(), "cmdline"))
		list = append(list, scriptProcess{pid, strings.ReplaceAll(string(command), "\x00", " ")})
	}
	return list
}

// everyline PATTERN checks that every line of the last standard output matches.
func everyLine(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: everyline pattern")
	}
	pattern, err := regexp.Compile(args[0])
	ts.Check(err)
	for line := range strings.Lines(ts.ReadFile("stdout")) {
		if !pattern.MatchString(strings.TrimSuffix(line, "\n")) {
			ts.Fatalf("line %q does not match", line)
		}
	}
}
