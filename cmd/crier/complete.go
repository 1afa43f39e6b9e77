package main

import (
	"context"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"crier.local/api"
	"crier.local/client"
	"crier.local/client/notification"
)

// completionTime is how long a completion may take: someone waits for it.
const completionTime = time.Second

const noFiles = cobra.ShellCompDirectiveNoFileComp

// complete makes the shell complete flag with what list returns.
func complete(cmd *cobra.Command, flag string, list func(ctx context.Context, cmd *cobra.Command) []string) {
	err := cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
		defer cancel()
		if bindEnvironment(cmd) != nil {
			return nil, noFiles
		}
		return list(ctx, cmd), noFiles
	})
	if err != nil {
		panic(err) // the command has no such flag, or two completions for it
	}
}

// completeDirectories completes --run-dir with directories.
func completeDirectories(cmd *cobra.Command) {
	if err := cmd.MarkFlagDirname("run-dir"); err != nil {
		panic(err) // the command has no such flag
	}
}

// completeFiles leaves the completion of flag with files to the shell.
func completeFiles(cmd *cobra.Command, flag string) {
	err := cmd.RegisterFlagCompletionFunc(flag, func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return nil, cobra.ShellCompDirectiveDefault
	})
	if err != nil {
		panic(err) // as above
	}
}

func completeChoice(cmd *cobra.Command, flag string, c *choice) {
	complete(cmd, flag, func(context.Context, *cobra.Command) []string { return c.allowed })
}

// completeRooms completes --room with the rooms there are.
func completeRooms(cmd *cobra.Command, r *reach) {
	complete(cmd, "room", func(ctx context.Context, _ *cobra.Command) []string {
		return r.peek(ctx, func(c *notification.Client) []string {
			rooms, err := c.Rooms(ctx)
			return namesOf(rooms, err, func(r api.RoomInfo) string { return r.Name })
		})
	})
}

// completeNames completes flag with the names in the room that --room names.
func completeNames(cmd *cobra.Command, r *reach, flag string) {
	complete(cmd, flag, func(ctx context.Context, cmd *cobra.Command) []string {
		return r.peek(ctx, func(c *notification.Client) []string {
			room, err := cmd.Flags().GetString("room")
			if err != nil {
				return nil
			}
			seats, err := c.Who(ctx, room)
			return namesOf(seats, err, func(s api.Seat) string { return s.Name })
		})
	})
}

// completeProviders completes --address with those of the providers.
func completeProviders(cmd *cobra.Command, r *reach) {
	complete(cmd, "address", func(ctx context.Context, _ *cobra.Command) []string {
		dirs, err := r.runDirs()
		if err != nil {
			return nil
		}
		found, _ := client.Providers(ctx, dirs) // what can be read is worth showing
		return namesOf(found, nil, func(f client.Found) string { return f.Address.String() })
	})
}

// peek attaches to the provider, if there is one, to look something up.
func (r *reach) peek(ctx context.Context, look func(*notification.Client) []string) []string {
	now := *r
	now.wait = 0
	o, err := now.options(hclog.NewNullLogger())
	if err != nil {
		return nil
	}
	c, err := notification.Dial(ctx, o)
	if err != nil {
		return nil
	}
	defer c.Close()
	return look(c)
}

// namesOf returns the names of the items, none if there was an error, each once.
func namesOf[T any](items []T, err error, name func(T) string) []string {
	if err != nil {
		return nil
	}
	var list []string
	for _, item := range items {
		list = append(list, name(item))
	}
	slices.Sort(list)
	return slices.Compact(list)
}
