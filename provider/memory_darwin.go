package provider

// defaultTotalQueue is 256 MiB: there is no cgroup to ask.
func defaultTotalQueue() int64 { return 256 << 20 }
