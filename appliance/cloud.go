package appliance

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/alb-appliance/appliance/cloudsim"
)

// What commands ask of the simulated cloud, as its console would.

// Identified names one resource of the cloud.
type Identified struct {
	ID string `json:"id"`
}

// CertificateUpload is a certificate for the certificate service; chain and key are PEM.
type CertificateUpload struct {
	Name  string `json:"name"`
	Chain string `json:"chain"`
	Key   string `json:"key"`
}

// CertificateRequest asks the certificate service to issue a certificate.
type CertificateRequest struct {
	Names []string `json:"names"`
}

// CertificateView is a certificate and the listeners that show it.
type CertificateView struct {
	cloudsim.Certificate
	Listeners []string
}

// ALBCreation asks for an instance that no AlbConfig makes.
type ALBCreation struct {
	Name        string   `json:"name"`
	AddressType string   `json:"addressType"`
	Edition     string   `json:"edition"`
	VSwitchIDs  []string `json:"vSwitchIds"`
}

// VPCCreation asks for a VPC beside the cluster's.
type VPCCreation struct {
	Name      string `json:"name"`
	CIDRBlock string `json:"cidrBlock"`
}

// VSwitchCreation asks for a vSwitch; without VPCID it is one of the cluster's VPC.
type VSwitchCreation struct {
	Name      string `json:"name"`
	VPCID     string `json:"vpcId"`
	ZoneID    string `json:"zoneId"`
	CIDRBlock string `json:"cidrBlock"`
}

func (a *Appliance) certificateList() []CertificateView {
	i := a.cloud.Inventory()
	all := []CertificateView{}
	for _, c := range i.Certificates {
		view := CertificateView{Certificate: c, Listeners: []string{}}
		for _, l := range i.Listeners {
			if slices.ContainsFunc(l.Certificates, func(lc cloudsim.ListenerCertificate) bool { return lc.CertificateID == c.CertificateID }) {
				view.Listeners = append(view.Listeners, l.ListenerID)
			}
		}
		all = append(all, view)
	}
	return all
}

func (a *Appliance) uploadCertificate(ctx context.Context, ask CertificateUpload) (Identified, error) {
	return identified(a.cloud.UploadUserCertificate(ctx, cloudsim.UploadCertificateInput{Name: ask.Name, Chain: []byte(ask.Chain), Key: []byte(ask.Key)}))
}

func (a *Appliance) requestCertificate(ctx context.Context, ask CertificateRequest) (Identified, error) {
	return identified(a.cloud.CreateCertificateRequest(ctx, ask.Names))
}

func (a *Appliance) renewCertificate(ctx context.Context, ask Identified) (Identified, error) {
	return identified(a.cloud.RenewCertificate(ctx, ask.ID))
}

func (a *Appliance) deleteCertificate(ctx context.Context, ask Identified) (done, error) {
	return done{}, refused(a.cloud.DeleteUserCertificate(ctx, ask.ID))
}

func (a *Appliance) createVPC(ctx context.Context, ask VPCCreation) (Identified, error) {
	return identified(a.cloud.CreateVPC(ctx, ask.Name, ask.CIDRBlock))
}

func (a *Appliance) createVSwitch(ctx context.Context, ask VSwitchCreation) (Identified, error) {
	return identified(a.cloud.CreateVSwitch(ctx, cloudsim.CreateVSwitchInput{
		VPCID: cmp.Or(ask.VPCID, a.cloud.Inventory().VPCs[0].VPCID), ZoneID: ask.ZoneID, Name: ask.Name, CIDRBlock: ask.CIDRBlock,
	}))
}

func (a *Appliance) createALB(ctx context.Context, ask ALBCreation) (Identified, error) {
	i := a.cloud.Inventory()
	in := cloudsim.CreateLoadBalancerInput{Name: ask.Name, AddressType: ask.AddressType, Edition: ask.Edition, VPCID: i.VPCs[0].VPCID}
	for _, id := range ask.VSwitchIDs {
		in.ZoneMappings = append(in.ZoneMappings, cloudsim.ZoneMappingInput{VSwitchID: id})
		if at := slices.IndexFunc(i.VSwitches, func(v cloudsim.VSwitch) bool { return v.VSwitchID == id }); at >= 0 {
			in.VPCID = i.VSwitches[at].VPCID // as in the console, which offers the vSwitches of one VPC
		}
	}
	return identified(a.cloud.CreateLoadBalancer(ctx, in))
}

func (a *Appliance) deleteALB(ctx context.Context, ask Identified) (done, error) {
	return done{}, refused(a.cloud.DeleteLoadBalancer(ctx, ask.ID))
}

func identified(id string, err error) (Identified, error) { return Identified{id}, refused(err) }

// refused makes what the cloud refuses the asker's error.
func refused(err error) error {
	if errors.As(err, new(*cloudsim.Error)) {
		return badRequest{err}
	}
	return err
}
