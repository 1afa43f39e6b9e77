package provider

// MemoryLimit is 0: there are no cgroups.
func MemoryLimit() int64 { return 0 }
