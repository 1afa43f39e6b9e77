package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
)

// first runs crier as the first process of a pid namespace.
func first() { within(&syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}) }

// inside is first in a user namespace too, in which there is no user but root, and
// groups up to 65535.
func inside() {
	within(&syscall.SysProcAttr{
		Cloneflags:                 syscall.CLONE_NEWPID | syscall.CLONE_NEWUSER,
		UidMappings:                []syscall.SysProcIDMap{{Size: 1}},
		GidMappings:                []syscall.SysProcIDMap{{Size: 1 << 16}},
		GidMappingsEnableSetgroups: true,
	})
}

// within runs crier with what it is given, passes signals on to it, and ends as it
// does.
func within(a *syscall.SysProcAttr) {
	runtime.LockOSThread() // whose end would be taken for that of this process
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	a.Pdeathsig = syscall.SIGKILL
	cmd := exec.Command("crier", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = os.Stdin, os.Stdout, os.Stderr, a
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(99)
	}
	go func() {
		for s := range signals {
			cmd.Process.Signal(s)
		}
	}()
	cmd.Wait()
	os.Exit(cmd.ProcessState.ExitCode())
}

// haveNamespaces reports whether first and inside can be played here.
func haveNamespaces() bool {
	cmd := exec.Command("true")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWPID | syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{Size: 1 << 16}},
	}
	return os.Getuid() == 0 && cmd.Run() == nil
}
