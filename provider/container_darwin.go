package provider

import "net"

// census would find out where the processes on this host run.
type census struct{}

// containerOf returns nothing: what runs in a container here is in a machine of its
// own.
func (*census) containerOf(*net.UnixConn) string { return "" }
