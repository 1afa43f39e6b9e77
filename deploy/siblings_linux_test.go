package deploy

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// family is the siblings' parent and what it has started.
type family struct {
	t       testing.TB
	program string
	runDir  string
	parent  *exec.Cmd
	said    *transcript // ends when the last of parent and children has
}

// newFamily returns one that talks.
func newFamily(t testing.TB, program string) *family {
	t.Helper()
	f := &family{t: t, program: program, runDir: t.TempDir(), parent: exec.Command(program), said: newTranscript(t, "the siblings")}
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	f.parent.Stderr = in
	f.parent.Env = append(os.Environ(), "CRIER_ADDRESS=", "CRIER_RUN_DIR="+f.runDir)
	if err := f.parent.Start(); err != nil {
		t.Fatal(err)
	}
	in.Close()
	go f.said.read(out)
	t.Cleanup(func() {
		f.parent.Process.Kill()
		for _, pid := range f.processes() {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		out.Close()
		f.said.wait()
	})
	for _, talks := range []string{"child1 heard: hello from child2", "child2 heard: hello from child3"} {
		f.said.expect("^" + talks)
	}
	return f
}

// child returns the process of a child.
func (f *family) child(name string) int {
	f.t.Helper()
	hello := f.said.expect("^parent: hello from " + name + ", process [0-9]+$").text
	pid, err := strconv.Atoi(hello[strings.LastIndexByte(hello, ' ')+1:])
	if err != nil {
		f.t.Fatal(err)
	}
	return pid
}

// isGone waits until no process and no file is left.
func (f *family) isGone() {
	f.t.Helper()
	var processes []int
	var files []string
	until(f.t, func() bool {
		processes = f.processes()
		files, _ = filepath.Glob(filepath.Join(f.runDir, "*"))
		return len(processes) == 0 && len(files) == 0
	}, func() string {
		return fmt.Sprintf("left are processes %d and files %q; they wrote:\n%s", processes, files, f.said)
	})
}

// processes returns those that run the program.
func (f *family) processes() (pids []int) {
	links, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, link := range links {
		if program, err := os.Readlink(link); err == nil && program == f.program {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(link)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// TestSiblings has the example live, and end in each of the ways that it has.
func TestSiblings(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "siblings")
	if err := output(exec.Command("go", "build", "-o", program, "./siblings")); err != nil {
		t.Fatal(err)
	}
	t.Run("a child is killed", func(t *testing.T) {
		f := newFamily(t, program)
		child2 := f.child("child2")
		killed := time.Now()
		if err := syscall.Kill(child2, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		t.Logf("told after %v", f.said.expect("^parent: child2 left: died$").at.Sub(killed))
		f.said.expect("^child1 heard: hello from child3")
		f.parent.Process.Signal(syscall.SIGTERM)
		if err := f.parent.Wait(); err != nil {
			t.Errorf("the parent: %v", err)
		}
		f.isGone()
	})
	t.Run("the parent is killed", func(t *testing.T) {
		f := newFamily(t, program)
		f.parent.Process.Kill()
		f.parent.Wait()
		f.isGone()
	})
}
