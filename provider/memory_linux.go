package provider

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// defaultTotalQueue is a quarter of the memory that this process's cgroup may
// use, or 256 MiB if nothing limits it.
func defaultTotalQueue() int64 {
	const unlimited = 256 << 20
	own, _ := os.ReadFile("/proc/self/cgroup")
	path, _, _ := bytes.Cut(bytes.TrimPrefix(own, []byte("0::")), []byte("\n"))
	text, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", string(path), "memory.max"))
	if err != nil {
		return unlimited
	}
	limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil { // "max"
		return unlimited
	}
	return max(1<<20, limit/4)
}
