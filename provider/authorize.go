package provider

import (
	"fmt"
	"net"
	"os"
	"slices"

	"crier.local/api"
)

// unknownID is the uid, or gid, of someone from outside this process's user
// namespace.
const unknownID = 65534

// authorize returns [api.ErrDenied] with words, unless the rules admit id: the
// provider's own user, root, and whom AllowUIDs and AllowGIDs name.
func (p *Provider) authorize(id api.Identity) error {
	own := uint32(os.Geteuid())
	switch {
	case id.UID == unknownID && own == unknownID && fullIdentityMap():
		return nil
	case id.UID != unknownID && (id.UID == own || id.UID == 0 || slices.Contains(p.options.AllowUIDs, id.UID)):
		return nil
	case p.allowsGroup(id.GID) || slices.ContainsFunc(id.Groups, p.allowsGroup):
		return nil
	}
	return fmt.Errorf("%w: provider %s of uid %d does not admit uid %d (gid %d); it can allow the uid or a group",
		api.ErrDenied, p.options.Name, own, id.UID, id.GID)
}

func (p *Provider) allowsGroup(gid uint32) bool {
	return gid != unknownID && slices.Contains(p.options.AllowGIDs, gid)
}

// onSocket runs f on the descriptor of c.
func onSocket(c *net.UnixConn, f func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}
