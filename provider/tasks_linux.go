package provider

import (
	"io/fs"
	"math"
	"os"
)

// TaskLimit returns how many tasks, which are threads of processes, the cgroups
// of this process allow, 0 if none of them limits it. It counts what the cgroups
// allow now, does not block, and knows versions 1 and 2.
func TaskLimit() int64 {
	limit := taskLimit(os.DirFS("/"))
	if limit == math.MaxInt64 {
		return 0
	}
	return limit
}

func taskLimit(root fs.FS) int64 {
	return tightest(root, "pids", []string{"pids.max"}, []string{"pids.max"})
}
