package apiserver_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	albv1 "github.com/alb-appliance/appliance/appliance/apis/alibabacloud/v1"
	"github.com/alb-appliance/appliance/appliance/apiserver"
	"github.com/alb-appliance/appliance/state/kv"
)

// patience bounds what tests wait for.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))
	goleak.VerifyTestMain(m,
		// Upstream's: klog and the check "log" live as long as the process, and a consistent read leaves its timeout behind.
		goleak.IgnoreAnyFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"),
		goleak.IgnoreAnyFunction("k8s.io/apimachinery/pkg/util/wait.Forever"),
		goleak.IgnoreAnyFunction("k8s.io/apiserver/pkg/storage/cacher.(*watchCache).waitUntilFreshAndBlock.func2"),
	)
}

// authority is a CA and one certificate for both sides.
type authority struct{ ca, certificate, key []byte }

var newAuthority = sync.OnceValue(func() authority {
	sign := func(template, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*ecdsa.PrivateKey, []byte) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			panic(err)
		}
		if signer == nil {
			signer = key
		}
		template.SerialNumber, template.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
		if err != nil {
			panic(err)
		}
		return key, der
	}
	root := &x509.Certificate{Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	rootKey, rootDER := sign(root, root, nil)
	leaf := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "admin", Organization: []string{"system:masters"}},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	key, der := sign(leaf, root, rootKey)
	raw, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		panic(err)
	}
	text := func(kind string, b []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}) }
	return authority{text("CERTIFICATE", rootDER), text("CERTIFICATE", der), text("EC PRIVATE KEY", raw)}
})

// server is an API that runs.
type server struct {
	*apiserver.Server
	url  string
	stop func()
}

// openStore opens a store that runs until the test is over.
func openStore(t *testing.T) *kv.Store {
	t.Helper()
	store, err := kv.Open("", kv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- store.Run(context.WithoutCancel(t.Context())) }()
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return store
}

// newServer makes an API that does not run yet.
func newServer(t *testing.T, store *kv.Store, change func(*apiserver.Options)) (*apiserver.Server, string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() }) // closed already where it ran
	a := newAuthority()
	_, services, _ := net.ParseCIDR("172.21.0.0/28")
	o := apiserver.Options{
		Backend: apiserver.Backend{Store: store}, Listener: listener, Certificate: a.certificate, Key: a.key, ClientCA: a.ca, TokenKey: a.key,
		ServiceRange: services, Definitions: [][]byte{albv1.Manifest}, Schemas: map[string][]byte{albv1.Resource.GroupResource().String(): albv1.Schema}, Namespaces: []string{"default", "kube-system"},
		Kubelet: http.NotFoundHandler(), ShutdownTimeout: time.Second,
	}
	if change != nil {
		change(&o)
	}
	s, err := apiserver.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s, "https://" + listener.Addr().String()
}

// start runs an API until stop or the end of the test.
func start(t *testing.T, store *kv.Store, change func(*apiserver.Options)) *server {
	t.Helper()
	s, url := newServer(t, store, change)
	ctx, cancel := context.WithCancel(context.Background())
	done, ready := make(chan error, 1), make(chan struct{})
	go func() { done <- s.Run(ctx, func() { close(ready) }) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	return &server{s, url, stop}
}

func (s *server) client(t *testing.T) kubernetes.Interface {
	t.Helper()
	c, err := kubernetes.NewForConfig(s.Loopback())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// remote is a configuration that goes through the socket; without a certificate it is a stranger's.
func (s *server) remote(certificate bool) *restclient.Config {
	a := newAuthority()
	c := &restclient.Config{Host: s.url, TLSClientConfig: restclient.TLSClientConfig{CAData: bytes.Clone(a.ca)}}
	if certificate {
		c.CertData, c.KeyData = a.certificate, a.key
	}
	return c
}

// account makes the ServiceAccount that pods of a namespace have: no controllers run here.
func (s *server) account(t *testing.T, namespace string) {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	if _, err := s.client(t).CoreV1().ServiceAccounts(namespace).Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}
