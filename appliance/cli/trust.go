package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/smallstep/truststore"
)

type trustCommand struct {
	Install   trustInstallCommand   `cmd:"" help:"Put the internal CA into the system's and the browsers' stores; asks for the rights it needs."`
	Uninstall trustUninstallCommand `cmd:"" help:"Take the internal CA out of them."`
}

// stores are the flags that say where.
type stores struct {
	NoSystem   bool `help:"Leave the system's store alone."`
	NoBrowsers bool `help:"Leave the browsers' stores alone."`
}

type trustInstallCommand struct{ stores }

// Help is the end of the command's --help.
func (trustInstallCommand) Help() string {
	return `Example:
  appliance trust install --no-system`
}

// Run makes this machine trust the internal CA.
func (c *trustInstallCommand) Run(s *streams, g *grammar) error {
	return c.each(s, g, "trust", truststore.InstallFile)
}

type trustUninstallCommand struct{ stores }

// Help is the end of the command's --help.
func (trustUninstallCommand) Help() string {
	return `Example:
  appliance trust uninstall`
}

// Run takes the trust away.
func (c *trustUninstallCommand) Run(s *streams, g *grammar) error {
	return c.each(s, g, "no longer trust", truststore.UninstallFile)
}

// each changes the browsers' stores, then the system's, and says what came of each.
func (c *stores) each(s *streams, g *grammar, does string, change func(string, ...truststore.Option) error) error {
	file := filepath.Join(g.DataDir, "ca.crt")
	if _, err := truststore.ReadCertificate(file); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("no appliance has run on %s, so there is no internal CA; start one with `appliance serve`, or name its --data-dir", g.DataDir)
	} else if err != nil {
		return fmt.Errorf("read the internal CA: %w", err)
	}
	if !c.NoBrowsers {
		browsers, _ := truststore.NewNSSTrust() // PreCheck says what is missing
		if err := browsers.PreCheck(); err != nil {
			fmt.Fprintf(s.out, "browsers   left alone: %v (start the browser once; on Debian certutil is in libnss3-tools)\n", err)
		} else if err := change(file, truststore.WithNoSystem(), truststore.WithTrust(browsers)); err != nil {
			return fmt.Errorf("change the browsers' stores: %w", err)
		} else {
			fmt.Fprintf(s.out, "browsers   %s %s; restart those that run\n", does, file)
		}
	}
	if c.NoSystem {
		return nil
	}
	if err := change(file); err != nil {
		return fmt.Errorf("change the system's store: %w; it needs the right to do so, and --no-system leaves it alone", err)
	}
	fmt.Fprintf(s.out, "system     %s %s\n", does, file)
	return nil
}
