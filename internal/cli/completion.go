package cli

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"weft/internal/client"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// completionCommand prints what a shell needs to complete commands.
func (a *App) completionCommand() *cobra.Command {
	shell := func(name, how string, print func(root *cobra.Command) error) *cobra.Command {
		return &cobra.Command{
			Use: name, Short: "Print the completions of " + name, Long: "Print the completions of " + name + ". To use them:\n\n" + how,
			Args: cobra.NoArgs, DisableFlagsInUseLine: true, Annotations: map[string]string{isOffline: "true"},
			RunE: func(cmd *cobra.Command, _ []string) error { return print(cmd.Root()) },
		}
	}
	return group("completion", "Print completions for a shell",
		shell("bash", "  source <(kumactl completion bash)          # this shell\n  kumactl completion bash > /etc/bash_completion.d/kumactl",
			func(root *cobra.Command) error { return root.GenBashCompletionV2(a.Out, true) }),
		shell("fish", "  kumactl completion fish | source            # this shell\n  kumactl completion fish > ~/.config/fish/completions/kumactl.fish",
			func(root *cobra.Command) error { return root.GenFishCompletion(a.Out, true) }),
		shell("zsh", "  source <(kumactl completion zsh)           # this shell\n  kumactl completion zsh > \"${fpath[1]}/_kumactl\"",
			func(root *cobra.Command) error { return root.GenZshCompletion(a.Out) }),
	)
}

// completeWithin bounds how long a person who pressed tab waits.
const completeWithin = 2 * time.Second

// completer completes an argument or the value of a flag.
type completer = func(cmd *cobra.Command, args []string, start string) ([]string, cobra.ShellCompDirective)

// completeNames completes the argument at position at with names of a kind's
// objects; kind gets the arguments before it and may return nil. What goes
// wrong only means that there are no suggestions.
func (a *App) completeNames(kind func(args []string) *model.Kind, mesh *string, at int) completer {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) != at {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		k := kind(args)
		if k == nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.names(cmd.Context(), k, *mesh), cobra.ShellCompDirectiveNoFileComp
	}
}

func (a *App) completeMeshes(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.names(cmd.Context(), kinds.Mesh, ""), cobra.ShellCompDirectiveNoFileComp
}

// names asks the control plane for names of objects, quietly.
func (a *App) names(ctx context.Context, k *model.Kind, mesh string) []string {
	ctx, cancel := context.WithTimeout(ctx, completeWithin)
	defer cancel()
	a.readQuietly()
	c, err := a.client()
	if err != nil {
		return nil
	}
	p, err := c.Page(ctx, client.Path(k, mesh, ""), client.Paging{}, nil)
	if err != nil {
		return nil
	}
	var out []string
	for _, item := range p.Items {
		var head struct{ Name string }
		if json.Unmarshal(item, &head) == nil && head.Name != "" {
			out = append(out, head.Name)
		}
	}
	slices.Sort(out)
	return out
}

// completeContexts completes names of known control planes.
func (a *App) completeContexts(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	a.readQuietly()
	var out []string
	for _, cp := range a.settings.ControlPlanes {
		out = append(out, cp.Name)
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// readQuietly reads the configuration for a completion, which must neither
// print anything nor make files. The flags are known only now.
func (a *App) readQuietly() {
	a.settings = defaultSettings()
	if a.noConfig || a.configPath() == "" {
		return
	}
	if s, err := readSettings(a.configPath()); err == nil {
		a.settings = s
	}
}
