package provider

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"crier.local/api"
	"crier.local/api/wire/wirepb"
	"crier.local/client"
)

func TestPeerIdentity(t *testing.T) {
	_, w, e := listening(t, Options{})
	dial(t, e)
	id := receive(t, "the session", w.opened)
	if int(id.UID) != os.Geteuid() || int(id.GID) != os.Getegid() || int(id.PID) != os.Getpid() || id.Local || id.Subject != "" {
		t.Errorf("identity %+v of a process with uid %d, gid %d, pid %d", id, os.Geteuid(), os.Getegid(), os.Getpid())
	}
	groups, err := os.Getgroups()
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS == "linux" && len(groups) != len(id.Groups) {
		t.Errorf("groups %v, want %v", id.Groups, groups)
	}
}

func TestAuthorize(t *testing.T) {
	own := uint32(os.Geteuid())
	const other, group = 4242, 4343
	tests := []struct {
		name string
		o    Options
		id   api.Identity
		want bool
	}{
		{"own user", Options{}, api.Identity{UID: own}, true},
		{"root", Options{}, api.Identity{UID: 0}, true},
		{"stranger", Options{}, api.Identity{UID: other, GID: group}, false},
		{"admitted user", Options{AllowUIDs: []uint32{other}}, api.Identity{UID: other}, true},
		{"other user", Options{AllowUIDs: []uint32{other}}, api.Identity{UID: other + 1}, false},
		{"primary group", Options{AllowGIDs: []uint32{group}}, api.Identity{UID: other, GID: group}, true},
		{"supplementary group", Options{AllowGIDs: []uint32{group}}, api.Identity{UID: other, GID: 1, Groups: []uint32{2, group}}, true},
		{"other group", Options{AllowGIDs: []uint32{group}}, api.Identity{UID: other, GID: 1, Groups: []uint32{2}}, false},
		{"a group is no user", Options{AllowGIDs: []uint32{other}}, api.Identity{UID: other, GID: 1}, false},
		{"unknown user", Options{AllowUIDs: []uint32{unknownID}}, api.Identity{UID: unknownID, GID: 1}, false},
		{"unknown group", Options{AllowGIDs: []uint32{unknownID}}, api.Identity{UID: other, GID: unknownID, Groups: []uint32{unknownID}}, false},
		{"unknown user, known group", Options{AllowGIDs: []uint32{group}}, api.Identity{UID: unknownID, GID: group}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := New(test.o).authorize(test.id)
			if test.want && err != nil || !test.want && !errors.Is(err, api.ErrDenied) {
				t.Errorf("error %v, want admitted: %t", err, test.want)
			}
			if err != nil && !strings.Contains(err.Error(), fmt.Sprintf("uid %d", test.id.UID)) {
				t.Errorf("the error %q does not say whom", err)
			}
		})
	}
}

// TestForeignUser has processes of other users attach.
func TestForeignUser(t *testing.T) {
	tests := []struct {
		name string
		o    Options
		uid  uint32
		gids []uint32
		want string
	}{
		{"refused", Options{Name: "mine"}, 1000, []uint32{1000}, "denied denied: provider mine of uid 0 does not admit uid 1000*"},
		{"unknown", Options{AllowUIDs: []uint32{unknownID}}, unknownID, []uint32{1000}, "denied*"},
		{"admitted", Options{AllowUIDs: []uint32{1000}}, 1000, []uint32{1000}, "attached"},
		{"primary group", Options{AllowGIDs: []uint32{7}}, 1000, []uint32{7}, "attached"},
		{"supplementary group", Options{AllowGIDs: []uint32{7}}, 1000, []uint32{1000, 5, 7}, "attached"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, w, e := listeningIn(t, publicDir(t), test.o)
			a := playAs(t, test.uid, test.gids, "attach", api.EnvAddress+"="+e.String())
			a.expect(test.want)
			if test.want != "attached" {
				return
			}
			if id := receive(t, "the session", w.opened); id.UID != test.uid || id.GID != test.gids[0] {
				t.Errorf("identity %+v", id)
			}
		})
	}
}

// TestManyGroups is of a user in more groups than are asked for at first.
func TestManyGroups(t *testing.T) {
	gids := []uint32{1000}
	for gid := uint32(2000); gid < 2100; gid++ {
		gids = append(gids, gid)
	}
	_, _, e := listeningIn(t, publicDir(t), Options{AllowGIDs: []uint32{2099}})
	playAs(t, 1000, gids, "attach", api.EnvAddress+"="+e.String()).expect("attached")
}

// TestPlainClient attaches by the generated code, with the standard codec.
func TestPlainClient(t *testing.T) {
	p, _, e := listening(t, Options{Name: "plain"})
	stream, err := wirepb.NewCrierClient(plainConn(t, e)).Attach(within(t))
	if err != nil {
		t.Fatal(err)
	}
	hello := &wirepb.Hello{WireVersion: api.WireVersion, Instance: make([]byte, 16)}
	if err := stream.Send(&wirepb.ClientBatch{Entries: []*wirepb.ClientEntry{{Entry: &wirepb.ClientEntry_Hello{Hello: hello}}}}); err != nil {
		t.Fatal(err)
	}
	answer, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	welcome := answer.Entries[0].GetWelcome()
	if epoch := p.Epoch(); welcome.GetName() != "plain" || string(welcome.GetEpoch()) != string(epoch[:]) {
		t.Errorf("welcome %v", welcome)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("a stream that was ended in order ends with %v", err)
	}
}

// playParent attaches to $CRIER_ADDRESS and leaves its socket to a child, which
// it starts, and which lives on.
func playParent() error {
	c, err := client.Dial(context.Background(), client.Options{})
	if err != nil {
		return err
	}
	if _, err := c.Open(context.Background(), witnessSelector); err != nil {
		return err
	}
	sockets, err := ownSockets()
	if err != nil {
		return err
	}
	child := roleCommand(os.Args[0], "idle")
	child.ExtraFiles, child.Stderr, child.Stdin = sockets, os.Stderr, os.Stdin
	child.Stdout = os.Stdout
	if err := child.Start(); err != nil {
		return err
	}
	return child.Wait()
}

// playTeller provides at $CRIER_ADDRESS, with the rules of $ALLOW_UIDS and
// $ALLOW_GIDS, and says who opens a session, and why it ends.
func playTeller() error {
	e, err := api.ParseEndpoint(os.Getenv(api.EnvAddress))
	if err != nil {
		return err
	}
	p, w := New(Options{AllowUIDs: listed("ALLOW_UIDS"), AllowGIDs: listed("ALLOW_GIDS")}), newWitness()
	defer p.Close()
	if err := p.Provide(witnessSelector, w, ServiceOptions{}); err != nil {
		return err
	}
	if _, err := p.Listen(e); err != nil {
		return err
	}
	fmt.Println("listening")
	go func() {
		for {
			select {
			case id := <-w.opened:
				fmt.Println("opened", id)
			case reason := <-w.closed:
				fmt.Println("closed", reason)
			}
		}
	}()
	untilEOF()
	return nil
}

// playWarden plays the role $WARD in a process of its own, which it kills at a line
// on its standard input. What that one leaves behind lives until the test ends.
func playWarden() error {
	ward := roleCommand(os.Args[0], os.Getenv("WARD"))
	ward.Stdout, ward.Stderr = os.Stdout, os.Stderr
	held, err := ward.StdinPipe()
	if err != nil {
		return err
	}
	defer held.Close()
	if err := ward.Start(); err != nil {
		return err
	}
	if _, err := fmt.Scanln(); err != io.EOF { // an empty line is what it is not made for
		ward.Process.Kill()
	}
	untilEOF()
	return nil
}

// ownSockets returns the sockets that this process has open.
func ownSockets() ([]*os.File, error) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil, err
	}
	var sockets []*os.File
	for _, entry := range entries {
		fd, _ := strconv.Atoi(entry.Name())
		var stat unix.Stat_t
		if unix.Fstat(fd, &stat) == nil && stat.Mode&unix.S_IFMT == unix.S_IFSOCK {
			copied, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
			if err != nil {
				return nil, err
			}
			sockets = append(sockets, os.NewFile(uintptr(copied), "socket"))
		}
	}
	if len(sockets) == 0 {
		return nil, errors.New("no socket is open")
	}
	return sockets, nil
}

func TestKilledClient(t *testing.T) {
	_, w, e := listening(t, Options{})
	a := play(t, "attach", api.EnvAddress+"="+e.String())
	a.expect("attached")
	receive(t, "the session", w.opened)
	a.kill()
	if reason := receive(t, "the end of the session", w.closed); reason != api.ReasonDied {
		t.Errorf("the session ended because of %v, want %v", reason, api.ReasonDied)
	}
}

func TestWatchProcess(t *testing.T) {
	cmd := exec.Command("cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	died, never := make(chan struct{}), make(chan struct{})
	stop := watchProcess(cmd.Process.Pid, func() { close(died) })
	watchProcess(cmd.Process.Pid, func() { close(never) })() // stopped at once
	select {
	case <-died:
		t.Fatal("dead before its time")
	default:
	}
	stdin.Close()
	receive(t, "the end of the process", died)
	stop()
	cmd.Wait()
	late := make(chan struct{})
	watchProcess(cmd.Process.Pid, func() { close(late) })()
	receive(t, "the end of a process that has ended", late)
	select {
	case <-never:
		t.Error("a watch that was stopped went off")
	default:
	}
}

// pool counts the buffers that are out.
type pool struct{ out, gets int }

func (p *pool) Get(n int) *[]byte {
	p.out++
	p.gets++
	b := make([]byte, n)
	return &b
}

func (p *pool) Put(*[]byte) { p.out-- }

// TestLinkReadsWhenReady: a connection that waits for data holds no buffer.
func TestLinkReadsWhenReady(t *testing.T) {
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err := net.Dial("unix", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := listener.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	p := New(Options{})
	l, err := newLink(server, &p.front.gate, p.authorize)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var buffers pool
	l.SetReadDeadline(time.Now().Add(time.Millisecond))
	if _, _, err := l.ReadOnReady(10, &buffers); !errors.Is(err, os.ErrDeadlineExceeded) || buffers.out != 0 {
		t.Errorf("error %v, %d buffers are out", err, buffers.out)
	}
	l.SetReadDeadline(time.Time{})
	client.Write([]byte("word"))
	b, n, err := l.ReadOnReady(10, &buffers)
	if err != nil || string((*b)[:n]) != "word" || buffers.out != 1 {
		t.Errorf("read %q, error %v, %d buffers are out", (*b)[:n], err, buffers.out)
	}
	client.Close()
	if _, _, err := l.ReadOnReady(10, &buffers); err != io.EOF || buffers.out != 1 {
		t.Errorf("error %v at the end, %d buffers are out", err, buffers.out)
	}
}
