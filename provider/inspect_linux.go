package provider

// ContainerIn returns the id of the container that the text of a process's
// /proc/PID/cgroup names, as identities have it; nothing if it names none.
func ContainerIn(cgroups []byte) string { return containerIn(cgroups) }
