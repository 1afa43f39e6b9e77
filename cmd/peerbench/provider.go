package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"crier.local/api"
	"crier.local/provider"
	"crier.local/provider/notification"
)

// provide is the main function of Crier's provider in this program, which serves as
// crier serve does, so that it can be profiled. It returns the status.
func provide(address, profile string) int {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer cancel()
	err := profiled(profile, func() error {
		endpoint, err := api.ParseEndpoint(address)
		if err != nil {
			return err
		}
		p := provider.New(provider.Options{Name: "crier"})
		defer p.Close()
		if _, err := notification.Register(p, notification.Options{}, provider.ServiceOptions{}); err != nil {
			return err
		}
		if _, err := p.Listen(endpoint); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
