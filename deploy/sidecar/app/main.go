// Command orders hands out work to whoever is there to do it, and again when a worker
// dies. The provider beside it is found by what that announces in /run/crier.
//
//	orders desk     hands out orders
//	orders NAME     is a worker of that name
package main

import (
	"context"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"crier.local/api"
	"crier.local/client"
	"crier.local/client/notification"
)

const deskName = "desk"

func main() {
	log.SetFlags(log.Ltime | log.Lmicroseconds)
	if len(os.Args) != 2 {
		log.Fatal("want one argument: desk, or the name of a worker")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1]); err != nil && ctx.Err() == nil {
		log.Fatal(err)
	}
}

// run returns when ctx or the connection ends.
func run(ctx context.Context, name string) error {
	c, err := notification.Dial(ctx, client.Options{Wait: 10 * time.Second})
	if err != nil {
		return err
	}
	defer c.Close()
	room, err := c.Connect(ctx, api.Connect{Room: "orders", Name: name, Presence: name == deskName})
	if err != nil {
		return err
	}
	d := desk{room: room, has: map[string]string{}}
	for e, err := range room.Events(ctx) {
		switch {
		case err != nil:
			return err
		case name == deskName:
			d.hear(ctx, e)
		default:
			work(ctx, room, e)
		}
	}
	return nil
}

// tell sends an order to one in the room. Where that goes wrong the room will say so:
// the other has left, the provider was lost, or this is the end.
func tell(ctx context.Context, room *notification.Connection, name, order string) {
	if _, err := room.SendTo(ctx, name, []byte(order)); err != nil {
		log.Printf("order %s, to %s: %v", order, name, err)
	}
}
