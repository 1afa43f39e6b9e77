// Command siblings starts a provider and three children that talk to each other
// through it. All of them are this program, which its arguments tell what to be:
//
//	siblings              the parent
//	siblings provider     what the parent starts first
//	siblings child NAME   what it starts then
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"crier.local/api"
	"crier.local/client"
	"crier.local/client/notification"
	"crier.local/provider"
	service "crier.local/provider/notification"
)

// options are for attaching to a provider that has no successor: if it is lost
// without a farewell, this process does not look for another.
var options = client.Options{GiveUpAfter: time.Second}

func main() {
	log.SetFlags(0)
	var err error
	switch args := os.Args[1:]; {
	case len(args) == 0:
		err = parent()
	case len(args) == 1 && args[0] == "provider":
		err = serve()
	case len(args) == 2 && args[0] == "child":
		err = child(args[1])
	default:
		err = errors.New("want no arguments: I start the others myself")
	}
	if err != nil {
		log.Fatal(err)
	}
}

// parent starts the others, and tells who comes and goes, until it is interrupted.
func parent() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	spawned, err := client.Spawn(ctx, exec.Command(self, "provider"), nil)
	if err != nil {
		return err
	}
	defer spawned.Close()
	os.Setenv(api.EnvAddress, spawned.Address().String()) // for this process and its children

	for _, name := range []string{"child1", "child2", "child3"} {
		c := exec.CommandContext(ctx, self, "child", name)
		c.Stderr = os.Stderr
		c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
		if err := c.Start(); err != nil {
			return err
		}
		defer end(c, stop)
	}

	return watch(ctx)
}

// end tells all children to end, and waits for this one.
func end(c *exec.Cmd, stop func()) {
	stop()
	_ = c.Wait()
}

// watch tells who comes and goes, until ctx ends.
func watch(ctx context.Context) error {
	c, err := notification.Dial(ctx, options)
	if err != nil {
		return err
	}
	defer c.Close()
	room, err := c.Connect(ctx, api.Connect{Presence: true})
	if err != nil {
		return err
	}
	for event, err := range room.Events(ctx) {
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		case event.Kind == api.KindLeft:
			log.Printf("parent: %s left: %s", event.From, event.Reason)
		case event.Kind == api.KindMessage:
			log.Printf("parent: %s", event.Payload)
		}
	}
	return nil
}

// serve is a provider, for the parent that started it and all to whom the parent
// tells its address. It ends with the parent, however that ends.
func serve() error {
	p := provider.New(provider.Options{Name: "siblings"})
	if _, err := service.Register(p, service.Options{}, provider.ServiceOptions{}); err != nil {
		return err
	}
	return p.ServePlugin()
}

// child says hello now and then and tells what its siblings say. It ends when it is
// told to, and when the provider does.
func child(name string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c, err := notification.Dial(ctx, options)
	if err != nil {
		return err
	}
	defer c.Close()
	room, err := c.Connect(ctx, api.Connect{Name: name})
	if err != nil {
		return err
	}
	go speak(ctx, room)
	for event, err := range room.Events(ctx) {
		switch {
		case ctx.Err() != nil || errors.Is(err, api.ErrGone):
			return nil
		case err != nil:
			return err
		case event.Kind == api.KindMessage:
			log.Printf("%s heard: %s", name, event.Payload)
		}
	}
	return nil
}

// speak ends with ctx, or with the connection.
func speak(ctx context.Context, room *notification.Connection) {
	pause := time.NewTicker(2 * time.Second)
	defer pause.Stop()
	for {
		hello := fmt.Appendf(nil, "hello from %s, process %d", room.Name(), os.Getpid())
		if err := room.Post(ctx, hello); err != nil {
			return
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return
		}
	}
}
