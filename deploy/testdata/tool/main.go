// Command tool does in a container what a shell would, where there is none:
//
//	sleep N         pass N seconds, or whatever time it is given
//	fill FILE       fill the file system, say "full", and empty it on a line of input
//	clutter DIR     leave no inode, say "full", and remove the files on a line of input
//	list DIR        print the names of the files
//	orphan PID      kill the parent of a process with -9
//	sockets PID     print how many sockets a process has open
//
// Named sleep, it sleeps.
package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	args := os.Args
	if filepath.Base(args[0]) == "sleep" {
		args = append([]string{"tool", "sleep"}, args[1:]...)
	}
	do := map[string]func(string) error{
		"sleep": sleep, "fill": fill, "clutter": clutter, "list": list, "orphan": orphan, "sockets": sockets,
	}[args[1]]
	if err := do(args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "tool:", err)
		os.Exit(1)
	}
}

func sleep(seconds string) error {
	n, err := strconv.Atoi(seconds)
	time.Sleep(time.Duration(n) * time.Second)
	return err
}

func fill(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	for err == nil {
		_, err = file.Write(make([]byte, 4096))
	}
	return errors.Join(until(err), os.Remove(path))
}

func clutter(dir string) error {
	heap := filepath.Join(dir, "heap")
	err := os.Mkdir(heap, 0o700)
	for i := 0; err == nil; i++ {
		err = os.WriteFile(filepath.Join(heap, strconv.Itoa(i)), nil, 0o600)
	}
	return errors.Join(until(err), os.RemoveAll(heap))
}

// until passes while the file system is full, which is what full must say.
func until(full error) error {
	if !errors.Is(full, syscall.ENOSPC) {
		return full
	}
	fmt.Println("full")
	_, err := bufio.NewReader(os.Stdin).ReadString('\n')
	return err
}

func list(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		fmt.Println(e.Name())
	}
	return err
}

func orphan(pid string) error {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return err
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])) // behind the name: state, parent
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return err
	}
	return syscall.Kill(parent, syscall.SIGKILL)
}

func sockets(pid string) error {
	dir := "/proc/" + pid + "/fd"
	entries, err := os.ReadDir(dir)
	n := 0
	for _, e := range entries {
		if to, _ := os.Readlink(filepath.Join(dir, e.Name())); strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	fmt.Println(n)
	return err
}
