package provider

import (
	"math"
	"testing"
	"testing/fstest"
)

func TestCgroupLimit(t *testing.T) {
	const none = math.MaxInt64
	const (
		mountV2     = "35 25 0:30 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
		mountV1     = "32 31 0:32 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n"
		unlimitedV1 = "9223372036854771712\n"
	)
	for _, test := range []struct {
		name   string
		mounts string
		own    string
		files  map[string]string
		want   int64
	}{
		{name: "no proc", want: none},
		{
			name: "version 2, no limit", mounts: mountV2, own: "0::/user.slice/s.scope\n",
			files: map[string]string{"sys/fs/cgroup/user.slice/s.scope/memory.max": "max\n"}, want: none,
		}, {
			name: "version 2, its own", mounts: mountV2, own: "0::/user.slice/s.scope\n",
			files: map[string]string{"sys/fs/cgroup/user.slice/s.scope/memory.max": "67108864\n"}, want: 67108864,
		}, {
			name: "version 2, a parent's is tighter", mounts: mountV2, own: "0::/a/b/c\n",
			files: map[string]string{
				"sys/fs/cgroup/a/memory.max": "1000\n", "sys/fs/cgroup/a/b/memory.max": "max\n", "sys/fs/cgroup/a/b/c/memory.max": "2000\n",
			}, want: 1000,
		}, {
			name: "version 2, throttled before", mounts: mountV2, own: "0::/a\n",
			files: map[string]string{"sys/fs/cgroup/a/memory.max": "2000\n", "sys/fs/cgroup/a/memory.high": "1500\n"}, want: 1500,
		}, {
			name: "version 2, container with a namespace of its own", mounts: mountV2, own: "0::/\n",
			files: map[string]string{"sys/fs/cgroup/memory.max": "3000\n"}, want: 3000,
		}, {
			name:   "version 2, container without",
			mounts: "35 25 0:30 /system.slice/docker-1.scope /sys/fs/cgroup ro - cgroup2 cgroup rw\n", own: "0::/system.slice/docker-1.scope\n",
			files: map[string]string{"sys/fs/cgroup/memory.max": "3000\n"}, want: 3000,
		}, {
			name: "version 2, moved out of its namespace", mounts: mountV2, own: "0::/../other\n",
			files: map[string]string{"sys/fs/cgroup/memory.max": "3000\n", "sys/fs/other/memory.max": "1\n"}, want: 3000,
		}, {
			name: "version 1, no limit", mounts: mountV1, own: "4:memory:/a\n1:cpu:/b\n0::/\n",
			files: map[string]string{"sys/fs/cgroup/memory/a/memory.limit_in_bytes": unlimitedV1}, want: 9223372036854771712,
		}, {
			name: "version 1, its own", mounts: mountV1, own: "1:cpu:/b\n4:hugetlb,memory:/a\n0::/\n",
			files: map[string]string{"sys/fs/cgroup/memory/a/memory.limit_in_bytes": "4000\n", "sys/fs/cgroup/memory/b/memory.limit_in_bytes": "1\n"}, want: 4000,
		}, {
			name:   "version 1, container",
			mounts: "32 31 0:32 /docker/1a2b /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n", own: "4:memory:/docker/1a2b\n",
			files: map[string]string{"sys/fs/cgroup/memory/memory.limit_in_bytes": "5000\n"}, want: 5000,
		}, {
			name:   "version 1, deeper in a container",
			mounts: "32 31 0:32 /docker/1a2b /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n", own: "4:memory:/docker/1a2b/in\n",
			files: map[string]string{"sys/fs/cgroup/memory/memory.limit_in_bytes": "5000\n", "sys/fs/cgroup/memory/in/memory.limit_in_bytes": "4000\n"}, want: 4000,
		}, {
			name:   "a name that only starts alike",
			mounts: "32 31 0:32 /docker/1a /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n", own: "4:memory:/docker/1a2b\n",
			files: map[string]string{"sys/fs/cgroup/memory/memory.limit_in_bytes": "5000\n", "sys/fs/cgroup/memory2b/memory.limit_in_bytes": "1\n"}, want: 5000,
		}, {
			name: "both versions", mounts: mountV1 + "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n", own: "4:memory:/a\n0::/b\n",
			files: map[string]string{"sys/fs/cgroup/memory/a/memory.limit_in_bytes": "7000\n", "sys/fs/cgroup/unified/b/memory.max": "6000\n"}, want: 6000,
		}, {
			name: "lines that are none", mounts: "x\n\n1 2 3 - cgroup2\n", own: "nothing\n::\n", want: none,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := fstest.MapFS{}
			put := func(name, text string) { root[name] = &fstest.MapFile{Data: []byte(text)} }
			put("proc/self/mountinfo", "24 1 0:22 / /proc rw - proc proc rw\n"+test.mounts)
			put("proc/self/cgroup", test.own)
			for name, text := range test.files {
				put(name, text)
			}
			if got := cgroupLimit(root); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}

func TestTotalQueueIsAPartOfWhatThereIs(t *testing.T) {
	want := int64(256 << 20)
	if limit := MemoryLimit(); limit > 0 {
		want = max(1<<20, limit/4)
	}
	if got := (Limits{}).withDefaults().TotalQueue; got != want {
		t.Errorf("got %d, want %d", got, want)
	}
}
