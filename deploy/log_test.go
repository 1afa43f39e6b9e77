package deploy

import (
	"bytes"
	"io"
	"os/exec"
	"sync"
	"time"
)

// follow reads what a container that others started writes, to its end. options are
// those of docker logs.
//
// It looks a few times more at what is there: with --follow, docker logs of Docker
// 20.10 may miss what is written as it begins, until more is.
func (c *container) follow(options ...string) {
	c.s.t.Helper()
	args := append(options, c.name)
	following := exec.Command("docker", append([]string{"logs", "--follow"}, args...)...)
	var copied [2]*copied
	c.log, copied[0] = copiedTo(newTranscript(c.s.t, c.name+" stdout"))
	c.said, copied[1] = copiedTo(newTranscript(c.s.t, c.name+" stderr"))
	following.Stdout, following.Stderr = &position{to: copied[0]}, &position{to: copied[1]}
	if err := following.Start(); err != nil {
		c.s.t.Fatal(err)
	}
	over := make(chan struct{})
	go func() {
		_ = following.Wait()
		close(over)
	}()
	go func() {
		lookAgain(args, copied, over)
		copied[0].to.Close()
		copied[1].to.Close()
	}()
	c.s.t.Cleanup(func() {
		_ = following.Process.Kill()
		c.log.wait()
		c.said.wait()
	})
}

// lookAgain looks now and then until nothing can have been missed, and when it is
// over.
func lookAgain(args []string, to [2]*copied, over <-chan struct{}) {
	defer look(args, to)
	for pause := 100 * time.Millisecond; pause < 5*time.Second; pause *= 2 {
		select {
		case <-time.After(pause):
			look(args, to)
		case <-over:
			return
		}
	}
	<-over
}

// look copies what of a log is there.
func look(args []string, to [2]*copied) {
	var stdout, stderr bytes.Buffer
	cmd := exec.Command("docker", append([]string{"logs"}, args...)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if cmd.Run() == nil {
		to[0].put(0, stdout.Bytes())
		to[1].put(0, stderr.Bytes())
	}
}

// copied is what has been copied of a stream that is read in several ways.
type copied struct {
	mu sync.Mutex
	n  int // bytes
	to *io.PipeWriter
}

func copiedTo(tr *transcript) (*transcript, *copied) {
	from, to := io.Pipe()
	go tr.read(from)
	return tr, &copied{to: to}
}

// put copies what is new of b, which begins at a position of the stream.
func (c *copied) put(at int, b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.n - at; known < len(b) {
		n, _ := c.to.Write(b[known:])
		c.n += n
	}
}

// position is a way to read a stream from its beginning.
type position struct {
	to *copied
	at int
}

func (p *position) Write(b []byte) (int, error) {
	p.to.put(p.at, b)
	p.at += len(b)
	return len(b), nil
}
