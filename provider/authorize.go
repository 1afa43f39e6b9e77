package provider

import (
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"slices"
	"syscall"
	"unicode/utf8"

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
	what, advice := "", "it can allow the uid or a group"
	if id.UID == unknownID {
		what, advice = ", which is nobody, or a user whom its user namespace does not know", "it can allow a group"
	}
	return fmt.Errorf("%w: provider %s of uid %d does not admit uid %d (gid %d)%s; %s",
		api.ErrDenied, p.options.Name, own, id.UID, id.GID, what, advice)
}

// anonymous is the subject of whoever comes over TCP without TLS.
const anonymous = "anonymous"

// maxSubject is the length in bytes of the longest subject.
const maxSubject = 512

// authorizeRemote returns [api.ErrDenied] with words, unless the rules admit who
// came over TCP: whoever shows a certificate that was verified, and says who it
// is for; and anybody on this host if the provider is insecure.
func (p *Provider) authorizeRemote(id api.Identity, r *remote) error {
	switch {
	case r.config == nil && p.options.Insecure && isLoopback(r.RemoteAddr()) && isLoopback(r.LocalAddr()):
		return nil
	case r.config == nil:
		return fmt.Errorf("%w: without TLS provider %s admits processes of its own host alone", api.ErrDenied, p.options.Name)
	case id.Subject == "":
		return fmt.Errorf("%w: the certificate names nobody; it needs a URI or a common name, of %d bytes at most", api.ErrDenied, maxSubject)
	}
	return nil
}

func isLoopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// subject returns whom a certificate is for: its first URI, else its common
// name; nothing if there is neither, or none that can be shown.
func subject(c *x509.Certificate) string {
	name := c.Subject.CommonName
	if len(c.URIs) > 0 {
		name = c.URIs[0].String()
	}
	if len(name) > maxSubject || !utf8.ValidString(name) || name == anonymous {
		return ""
	}
	return name
}

func (p *Provider) allowsGroup(gid uint32) bool {
	return gid != unknownID && slices.Contains(p.options.AllowGIDs, gid)
}

// onSocket runs f on the descriptor of c.
func onSocket(c syscall.Conn, f func(fd int) error) error {
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
