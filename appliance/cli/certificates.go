package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/alb-appliance/appliance/appliance"
)

type certificatesCommand struct {
	List    certificatesListCommand    `cmd:"" default:"withargs" help:"List the certificates."`
	Request certificatesRequestCommand `cmd:"" help:"Have a certificate issued by the internal CA."`
	Upload  certificatesUploadCommand  `cmd:"" help:"Upload a certificate made elsewhere."`
	Renew   certificatesRenewCommand   `cmd:"" help:"Have a certificate of the same names issued; as on the real service it gets an id of its own."`
	Delete  certificatesDeleteCommand  `cmd:"" help:"Delete a certificate that no listener has."`
}

type certificatesListCommand struct{ output }

// Help is the end of the command's --help.
func (certificatesListCommand) Help() string {
	return `Example:
  appliance cloud certificates`
}

// Run prints the certificates.
func (c *certificatesListCommand) Run(s *streams, g *grammar) error {
	var certificates []appliance.CertificateView
	if err := g.ask("cloud/certificates", nil, &certificates); err != nil {
		return err
	}
	return c.print(s, certificates, func(w io.Writer) {
		rows := [][]string{{"ID", "NAME", "COMMON NAME", "DOMAINS", "KEY", "VALID UNTIL", "LISTENERS"}}
		for _, v := range certificates {
			rows = append(rows, []string{
				v.CertificateID, v.Name, v.CommonName, strings.Join(v.Domains, ","), v.Algorithm, v.NotAfter.Format(time.DateTime), strings.Join(v.Listeners, ","),
			})
		}
		table(w, rows...)
	})
}

type certificatesRequestCommand struct {
	Names []string `arg:"" help:"Domains; the first becomes the common name."`
}

// Help is the end of the command's --help.
func (certificatesRequestCommand) Help() string {
	return `Example:
  appliance cloud certificates request ingress-demo.com '*.ingress-demo.com'`
}

// Run prints the new certificate's id.
func (c *certificatesRequestCommand) Run(s *streams, g *grammar) error {
	return g.askID(s, "cloud/certificates/request", appliance.CertificateRequest{Names: c.Names})
}

type certificatesUploadCommand struct {
	Name string `arg:"" help:"The certificate's name, used once."`
	Cert string `help:"File of the chain, PEM, the leaf first." required:"" type:"path" placeholder:"FILE"`
	Key  string `help:"File of the private key, PEM." required:"" type:"path" placeholder:"FILE"`
}

// Help is the end of the command's --help.
func (certificatesUploadCommand) Help() string {
	return `Example:
  appliance cloud certificates upload mine --cert ingress-demo.com.pem --key ingress-demo.com.key`
}

// Run prints the new certificate's id.
func (c *certificatesUploadCommand) Run(s *streams, g *grammar) error {
	chain, err := os.ReadFile(c.Cert)
	if err != nil {
		return fmt.Errorf("read the chain: %w", err)
	}
	key, err := os.ReadFile(c.Key)
	if err != nil {
		return fmt.Errorf("read the key: %w", err)
	}
	return g.askID(s, "cloud/certificates/upload", appliance.CertificateUpload{Name: c.Name, Chain: string(chain), Key: string(key)})
}

type certificatesRenewCommand struct {
	ID string `arg:"" help:"The certificate's id."`
}

// Help is the end of the command's --help.
func (certificatesRenewCommand) Help() string {
	return `Example:
  appliance cloud certificates renew 12345678-cn-hangzhou`
}

// Run prints the new certificate's id.
func (c *certificatesRenewCommand) Run(s *streams, g *grammar) error {
	return g.askID(s, "cloud/certificates/renew", appliance.Identified{ID: c.ID})
}

type certificatesDeleteCommand struct {
	ID string `arg:"" help:"The certificate's id."`
}

// Help is the end of the command's --help.
func (certificatesDeleteCommand) Help() string {
	return `Example:
  appliance cloud certificates delete 12345678-cn-hangzhou`
}

// Run deletes the certificate.
func (c *certificatesDeleteCommand) Run(_ *streams, g *grammar) error {
	return g.ask("cloud/certificates/delete", appliance.Identified{ID: c.ID}, &struct{}{})
}
