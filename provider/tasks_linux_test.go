package provider

import (
	"math"
	"testing"
	"testing/fstest"
)

func TestTaskLimit(t *testing.T) {
	const (
		version2 = "35 25 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
		version1 = "32 31 0:32 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n33 31 0:33 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
	)
	for _, test := range []struct {
		name, mounts, own string
		file, text        string
		want              int64
	}{
		{"nothing to see", "", "", "none", "", math.MaxInt64},
		{"version 2", version2, "0::/a/b\n", "sys/fs/cgroup/a/pids.max", "20\n", 20},
		{"version 2, no limit", version2, "0::/a\n", "sys/fs/cgroup/a/pids.max", "max\n", math.MaxInt64},
		{"version 1", version1, "8:pids:/docker/1\n4:memory:/x\n0::/\n", "sys/fs/cgroup/pids/docker/1/pids.max", "7\n", 7},
		{"version 1, another controller's", version1, "8:pids:/\n4:memory:/x\n", "sys/fs/cgroup/memory/x/pids.max", "7\n", math.MaxInt64},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := fstest.MapFS{
				"proc/self/cgroup":    {Data: []byte(test.own)},
				"proc/self/mountinfo": {Data: []byte(test.mounts)},
				test.file:             {Data: []byte(test.text)},
			}
			if got := taskLimit(root); got != test.want {
				t.Errorf("%d, want %d", got, test.want)
			}
		})
	}
}
