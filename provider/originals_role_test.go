package provider_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"crier.local/api"
	"crier.local/client"
)

// TestOriginalsRole is what the test binary does when a test starts it again as
// a process of its own, with the role in the environment.
func TestOriginalsRole(t *testing.T) {
	roles := map[string]func(context.Context) error{
		"log":          playLog,
		"keep":         func(ctx context.Context) error { return playResource(ctx, false) },
		"close":        func(ctx context.Context) error { return playResource(ctx, true) },
		"list clients": playListClients,
		"extension":    playExtension,
		"block":        playBlock,
	}
	name := os.Getenv(originalsRole)
	if name == "" {
		t.Skip("the other tests play this in processes of their own")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := roles[name](ctx); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
	os.Exit(0) // what is open ends with the process
}

const originalsRole = "CRIER_ORIGINALS_ROLE"

// play starts a process that plays a role; env are NAME=VALUE. The process ends
// with the test, at the latest.
func play(t *testing.T, role string, env ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(within(t), os.Args[0], "-test.run=^TestOriginalsRole$")
	cmd.Env = append(os.Environ(), append(env, originalsRole+"="+role)...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			cmd.Process.Kill()
			cmd.Wait()
		}
	})
	return cmd
}

// ended waits for a process to end well.
func ended(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Wait(); err != nil {
		t.Errorf("the other process: %v", err)
	}
}

// at is the environment in which a process finds the provider.
func (s *service) at() string { return api.EnvAddress + "=" + s.address.String() }

// sessionOf opens a session of the provider that the environment names.
func sessionOf(ctx context.Context, selector api.Selector) (*client.Client, *client.Session, error) {
	c, err := client.Dial(ctx, client.Options{})
	if err != nil {
		return nil, nil, err
	}
	s, err := c.Open(ctx, selector)
	return c, s, err
}
