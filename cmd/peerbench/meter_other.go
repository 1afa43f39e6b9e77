//go:build !linux

package main

import (
	"fmt"
	"runtime"
	"time"
)

func errNoMeter(what string) error {
	return fmt.Errorf("%s of another process is not known on %s", what, runtime.GOOS)
}

func cpuTime(int) (time.Duration, error) { return 0, errNoMeter("CPU time") }

func residentBytes(int) (int64, error) { return 0, errNoMeter("memory") }

func wakeUps(int) (int64, error) { return 0, errNoMeter("wake-ups") }
