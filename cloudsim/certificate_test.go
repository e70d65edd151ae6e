package cloudsim_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/alb-appliance/appliance/cloudsim"
)

// certify makes a self-signed certificate and its key, PEM.
func certify(commonName string, notAfter time.Time, names ...string) (chain, key []byte, err error) {
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: commonName}, DNSNames: names,
		NotBefore: notAfter.Add(-90 * 24 * time.Hour), NotAfter: notAfter,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
	if err != nil {
		return nil, nil, err
	}
	raw, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), nil
}

// issuer is the service's authority.
func issuer(clock clockwork.Clock) cloudsim.Issue {
	return func(_ context.Context, names []string) (chain, key []byte, err error) {
		return certify(names[0], clock.Now().Add(90*24*time.Hour), names...)
	}
}

// upload puts a certificate into the service.
func (w *world) upload(t *testing.T, name, commonName string, valid time.Duration) string {
	t.Helper()
	chain, key, err := certify(commonName, w.clock.Now().Add(valid), "a.example.com")
	if err != nil {
		t.Fatal(err)
	}
	return must[string](t)(w.UploadUserCertificate(t.Context(), cloudsim.UploadCertificateInput{Name: name, Chain: chain, Key: key}))
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	issued := must[string](t)(w.CreateCertificateRequest(t.Context(), []string{"ingress-demo.com", "*.ingress-demo.com"}))
	renewed := must[string](t)(w.RenewCertificate(t.Context(), issued))
	if issued == renewed {
		t.Error("renewing kept the id: who names the old one would get the new one")
	}
	list := must[[]cloudsim.Certificate](t)(w.ListCertificates(t.Context()))
	first, second := list[0], list[1]
	if first.Name != "ingress-demo.com" || second.Name != "ingress-demo.com-2" || first.CommonName != "ingress-demo.com" || first.Algorithm != "ECC" || !slices.Equal(first.Domains, second.Domains) {
		t.Errorf("%+v", list)
	}
	if !strings.HasSuffix(issued, "-cn-hangzhou") || first.Source != cloudsim.SourceIssued {
		t.Errorf("id %s, source %s", issued, first.Source)
	}
	for host, want := range map[string]bool{"Ingress-Demo.com": true, "a.ingress-demo.com": true, "a.b.ingress-demo.com": false, "demo.com": false, "com": false} {
		if first.Covers(host) != want {
			t.Errorf("covers %s: %v", host, !want)
		}
	}
	if text := fmt.Sprintf("%v %+v %s %d", first, first, first.Key, first.Key); strings.Contains(text, "PRIVATE KEY") || strings.Contains(text, strings.Trim(fmt.Sprint([]byte(first.Key)), "[]")) {
		t.Error("the key is printed")
	}
	// Another process finds what this one acknowledged, keys included.
	w.stop()
	again := open(t, w.path, cloudsim.DelaysNone).Inventory().Certificates
	if len(again) != 2 || string(again[0].Key) != string(first.Key) || again[1].Fingerprint != second.Fingerprint {
		t.Errorf("after a restart: %+v", again)
	}
}

func TestSecureListener(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	lb, _, placeholder, _ := w.stack(t)
	one, two := w.upload(t, "one", "one.example.com", 48*time.Hour), w.upload(t, "two", "two.example.com", 48*time.Hour)
	quic := must[string](t)(w.CreateListener(t.Context(), cloudsim.CreateListenerInput{
		LoadBalancerID: lb, Port: 443, Protocol: "QUIC", DefaultServerGroupID: placeholder, Certificates: []cloudsim.ListenerCertificate{{CertificateID: one, IsDefault: true}},
	}))
	id := must[string](t)(w.CreateListener(t.Context(), cloudsim.CreateListenerInput{
		LoadBalancerID: lb, Port: 443, Protocol: "HTTPS", DefaultServerGroupID: placeholder, HTTP2Enabled: true,
		Certificates: []cloudsim.ListenerCertificate{{CertificateID: one, IsDefault: true}}, QUICConfig: cloudsim.QUICConfig{UpgradeEnabled: true, ListenerID: quic},
	}))
	update := cloudsim.UpdateListenerInput{ListenerID: id, DefaultServerGroupID: placeholder, Certificates: []cloudsim.ListenerCertificate{{CertificateID: one}, {CertificateID: two, IsDefault: true}}}
	if err := w.UpdateListenerAttribute(t.Context(), update); err != nil {
		t.Fatal(err)
	}
	w.await(t, "running", func(i *cloudsim.Inventory) bool {
		return !slices.ContainsFunc(i.Listeners, func(l cloudsim.Listener) bool { return l.Status != cloudsim.StatusRunning })
	})
	if err := w.DeleteUserCertificate(t.Context(), two); cloudsim.Code(err) != "ResourceInUse.Certificate" {
		t.Errorf("delete a certificate in use: %v", err)
	}
	// What a listener shows already may grow old on it; another one may not be put on it then.
	w.clock.Advance(36 * time.Hour)
	if err := w.UpdateListenerAttribute(t.Context(), update); err != nil {
		t.Errorf("the same certificates again: %v", err)
	}
	three := w.upload(t, "three", "three.example.com", 23*time.Hour)
	update.Certificates = append(update.Certificates, cloudsim.ListenerCertificate{CertificateID: three})
	if err := w.UpdateListenerAttribute(t.Context(), update); cloudsim.Code(err) != "CertificateExpired" || !strings.Contains(err.Error(), "the following certificate IDs have expired: ["+three+"]") {
		t.Errorf("a certificate with less than a day left: %v", err)
	}
	w.stop()
	for _, l := range open(t, w.path, cloudsim.DelaysNone).Inventory().Listeners {
		if l.ListenerID == id && (len(l.Certificates) != 2 || l.SecurityPolicyID != "tls_cipher_policy_1_0" || l.HTTP2Enabled) {
			t.Errorf("after a restart: %+v", l)
		}
	}
}

// TestCertificateRefusals has a row for each refusal of certificates and secure listeners.
func TestCertificateRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	lb, plain, placeholder, group := w.stack(t)
	good := w.upload(t, "good", "good.example.com", 48*time.Hour)
	nameless := w.upload(t, "nameless", "", 48*time.Hour)
	chain, key, err := certify("x.example.com", w.clock.Now().Add(48*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	_, otherKey, err := certify("x.example.com", w.clock.Now().Add(48*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	upload := func(name string, chain, key []byte) func() error {
		return func() error {
			_, err := w.UploadUserCertificate(t.Context(), cloudsim.UploadCertificateInput{Name: name, Chain: chain, Key: key})
			return err
		}
	}
	listen := func(change func(*cloudsim.CreateListenerInput)) func() error {
		return func() error {
			in := cloudsim.CreateListenerInput{
				LoadBalancerID: lb, Port: 443, Protocol: "HTTPS", DefaultServerGroupID: placeholder,
				Certificates: []cloudsim.ListenerCertificate{{CertificateID: good, IsDefault: true}},
			}
			change(&in)
			_, err := w.CreateListener(t.Context(), in)
			return err
		}
	}
	redirect := func(to *cloudsim.Redirect) func() error {
		return func() error {
			r := rule(1, group, "/a")
			r.Actions = []cloudsim.Action{{Type: cloudsim.ActionRedirect, Order: 1, Redirect: to}}
			_, err := w.CreateRules(t.Context(), plain, []cloudsim.RuleInput{r})
			return err
		}
	}
	for _, row := range []struct {
		code, text string
		ask        func() error
	}{
		{"NameRepeat", "name repeated: good", upload("good", chain, key)},
		{"IllegalParam.Name", "The param of Name is illegal", upload("", chain, key)},
		{"IllegalParam.Cert", "The param of Cert is illegal", upload("x", []byte("no certificate"), key)},
		{"IllegalParam.Key", "The param of Key is illegal", upload("x", chain, otherKey)},
		{"IllegalParam.Key", "The param of Key is illegal", upload("x", chain, nil)},
		{"IllegalParamSize.Cert", "The param size of Cert is illegal", upload("x", make([]byte, 65<<10), key)},
		{"MissingParam.Domain", "The param of Domain is missing", func() error {
			_, err := w.CreateCertificateRequest(t.Context(), nil)
			return err
		}},
		{"ResourceNotFound.Certificate", "1-cn-hangzhou is not found", func() error {
			_, err := w.RenewCertificate(t.Context(), "1-cn-hangzhou")
			return err
		}},
		{"ResourceNotFound.Certificate", "1-cn-hangzhou is not found", func() error { return w.DeleteUserCertificate(t.Context(), "1-cn-hangzhou") }},
		{"MissingParam.Certificates", "The param of Certificates is missing", listen(func(in *cloudsim.CreateListenerInput) { in.Certificates = nil })},
		{"IllegalParam.Certificates", "The param of Certificates is illegal", listen(func(in *cloudsim.CreateListenerInput) { in.Protocol = "HTTP" })},
		{"ResourceNotFound.Certificate", "1-cn-hangzhou is not found", listen(func(in *cloudsim.CreateListenerInput) { in.Certificates[0].CertificateID = "1-cn-hangzhou" })},
		{"DuplicatedParam.CertificateId", "The param of Certificates.2.CertificateId is duplicated", listen(func(in *cloudsim.CreateListenerInput) {
			in.Certificates = append(in.Certificates, cloudsim.ListenerCertificate{CertificateID: good})
		})},
		{"OperationDenied.HttpsCertCommonNameEmpty", "The operation is not allowed because of HttpsCertCommonNameEmpty", listen(func(in *cloudsim.CreateListenerInput) { in.Certificates[0].CertificateID = nameless })},
		{"ResourceNotFound.SecurityPolicy", "my-policy is not found", listen(func(in *cloudsim.CreateListenerInput) { in.SecurityPolicyID = "my-policy" })},
		{"IllegalParam.SecurityPolicyId", "The param of SecurityPolicyId is illegal", listen(func(in *cloudsim.CreateListenerInput) {
			in.Protocol, in.SecurityPolicyID = "QUIC", "tls_cipher_policy_1_2"
		})},
		{"MissingParam.QuicListenerId", "The param of QuicConfig.QuicListenerId is missing", listen(func(in *cloudsim.CreateListenerInput) { in.QUICConfig.UpgradeEnabled = true })},
		{"ResourceNotFound.Listener", "lsn-x is not found", listen(func(in *cloudsim.CreateListenerInput) { in.QUICConfig.ListenerID = "lsn-x" })},
		{"IllegalParam.QuicListenerId", "The param of QuicConfig.QuicListenerId is illegal", listen(func(in *cloudsim.CreateListenerInput) { in.QUICConfig.ListenerID = plain })},
		{"MissingParam.RedirectConfig", "The param of Rules.1.RuleActions.1.RedirectConfig is missing", redirect(nil)},
		{"MissingParam.RedirectConfig", "RedirectConfig is missing", redirect(&cloudsim.Redirect{HTTPCode: 308})},
		{"IllegalParam.HttpCode", "The param of Rules.1.RuleActions.1.RedirectConfig.HttpCode is illegal", redirect(&cloudsim.Redirect{Protocol: "HTTPS", HTTPCode: 200})},
		{"IllegalParam.Protocol", "RedirectConfig.Protocol is illegal", redirect(&cloudsim.Redirect{Protocol: "https", HTTPCode: 308})},
	} {
		before := w.Inventory()
		err := row.ask()
		if cloudsim.Code(err) != row.code || !strings.Contains(err.Error(), row.text) {
			t.Errorf("want %s %q, got %s %v", row.code, row.text, cloudsim.Code(err), err)
		}
		if after := w.Inventory(); len(after.Certificates) != len(before.Certificates) || len(after.Listeners) != len(before.Listeners) {
			t.Errorf("%s changed the cloud", row.code)
		}
	}
}
