package apiserver

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"time"

	apiextensionsserver "k8s.io/apiextensions-apiserver/pkg/apiserver"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/sets"
	discoveryendpoint "k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/apiserver/pkg/server/filters"
	"k8s.io/apiserver/pkg/util/compatibility"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
)

// Options is what a Server needs. All fields are required unless said.
type Options struct {
	Backend Backend
	// Listener is where the API is served with TLS; New takes it over.
	Listener net.Listener
	// Certificate and Key are the serving pair, PEM.
	Certificate, Key []byte
	// ClientCA verifies client certificates, PEM.
	ClientCA []byte
	// TokenKey signs ServiceAccounts' tokens, PEM. Without one, tokens end with this process.
	TokenKey []byte
	// ServiceRange is where cluster IPs come from.
	ServiceRange *net.IPNet
	// Definitions are CustomResourceDefinitions, YAML, that are served from the start.
	Definitions [][]byte
	// Schemas say what definitions mean that store anything, by their names: YAML in the form of a definition's schema.
	// They are documentation, and what warnings go by. Optional.
	Schemas map[string][]byte
	// Namespaces are made when missing.
	Namespaces []string
	// Kubelet answers for every node (the kubelet's own API).
	Kubelet http.Handler
	// Dial connects to an address and port of the cluster, for webhooks behind Services.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// Reviews look at Ingresses before they are stored. Optional.
	Reviews []IngressReview
	// Handlers are further handlers by path prefix, behind the API's authentication and authorization. Optional.
	Handlers map[string]http.Handler
	// ShutdownTimeout bounds how long requests in flight may take at the end.
	ShutdownTimeout time.Duration
}

// Server is the Kubernetes API.
type Server struct {
	options   Options
	api       *genericapiserver.GenericAPIServer
	custom    *apiextensionsserver.CustomResourceDefinitions
	inProcess *loopback
	loopback  *restclient.Config
	client    kubernetes.Interface
	informers informers.SharedInformerFactory
	tokens    *tokens
	roles     *roles
	loose     looseKinds
	defined   *definedGroups
	ended     chan struct{} // closed when Run is over
}

// New wires the API and makes what must be there before anybody asks: definitions and namespaces. It does not serve yet.
func New(ctx context.Context, o Options) (*Server, error) {
	supportWatchProgress(ctx, o.Backend)
	for _, d := range o.Definitions {
		if err := ensureDefinition(ctx, o.Backend, d); err != nil {
			return nil, err
		}
	}
	s := &Server{options: o, inProcess: &loopback{}, ended: make(chan struct{})}
	s.loopback = &restclient.Config{Host: "http://in-process", Transport: s.inProcess, BearerToken: rand.Text(), QPS: -1}
	var err error
	if s.client, err = kubernetes.NewForConfig(s.loopback); err != nil {
		return nil, fmt.Errorf("make loopback client: %w", err)
	}
	if s.loose, err = newLooseKinds(o.Schemas); err != nil {
		return nil, err
	}
	options := newOptions(o.Backend, legacyscheme.Scheme, legacyscheme.Codecs)
	if err := bootstrap(ctx, options, o.Namespaces); err != nil {
		return nil, err
	}
	config, err := s.config()
	if err != nil {
		return nil, err
	}
	if s.custom, err = newCustomResources(config, o.Backend); err != nil {
		return nil, err
	}
	if s.api, err = config.Complete(nil).New("appliance", s.custom.GenericAPIServer); err != nil {
		return nil, fmt.Errorf("make API server: %w", err)
	}
	placeGroups(s.api)
	err = installResources(ctx, installer{s.api, config}, &resourceDeps{
		options: options, authorizer: config.Authorization.Authorizer, rules: config.RuleResolver, authentication: config.Authentication, tokens: s.tokens,
		budgets: s.client.PolicyV1(), discovery: s.client.Discovery(), kubelet: newKubeletTransport(o.Kubelet), serviceRange: o.ServiceRange,
	})
	if err != nil {
		return nil, err
	}
	definitions := s.custom.Informers.Apiextensions().V1().CustomResourceDefinitions()
	s.defined = &definedGroups{definitions: definitions.Lister(), list: s.api.DiscoveryGroupManager, named: map[string]bool{}}
	if err := s.defined.follow(definitions.Informer()); err != nil {
		return nil, err
	}
	documents := &documents{definitions: definitions.Lister(), loose: s.loose}
	documents.install(s.api)
	for path, h := range o.Handlers {
		s.api.Handler.NonGoRestfulMux.HandlePrefix(path, h)
	}
	return s, nil
}

// config is the generic server's configuration: TLS on the given listener, client certificates, no flow control and no
// audit (one user on one laptop).
func (s *Server) config() (*genericapiserver.Config, error) {
	c := genericapiserver.NewConfig(legacyscheme.Codecs)
	c.EffectiveVersion = parseable{compatibility.DefaultBuildEffectiveVersion()}
	certificate, err := dynamiccertificates.NewStaticCertKeyContent("serving", s.options.Certificate, s.options.Key)
	if err != nil {
		return nil, fmt.Errorf("load serving certificate: %w", err)
	}
	clientCA, err := dynamiccertificates.NewStaticCAContent("client-ca", s.options.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("load client CA: %w", err)
	}
	if s.tokens, err = newTokens(s.options.TokenKey, s.client); err != nil {
		return nil, err
	}
	c.SecureServing = &genericapiserver.SecureServingInfo{Listener: s.options.Listener, Cert: certificate, ClientCA: clientCA}
	c.ExternalAddress = s.options.Listener.Addr().String()
	c.LoopbackClientConfig = s.loopback
	s.roles = &roles{client: s.client}
	c.Authentication.APIAudiences = s.tokens.audiences
	c.Authentication.Authenticator = newAuthenticator(clientCA, s.tokens)
	c.Authorization.Authorizer, c.RuleResolver = newAuthorizer(s.roles), s.roles
	genericapiserver.AuthorizeClientBearerToken(s.loopback, &c.Authentication, &c.Authorization)
	c.LongRunningFunc = filters.BasicLongRunningRequestCheck(sets.NewString("watch", "proxy"), sets.NewString("attach", "exec", "proxy", "log", "portforward"))
	c.SkipOpenAPIInstallation = true // documents serves them
	c.AggregatedDiscoveryGroupManager = discoveryendpoint.NewResourceManager("apis")
	c.RESTOptionsGetter = newOptions(s.options.Backend, legacyscheme.Scheme, legacyscheme.Codecs)
	s.informers = informers.NewSharedInformerFactoryWithOptions(s.client, 0, informers.WithTransform(dropManagedFields))
	if c.AdmissionControl, err = s.newAdmission(c); err != nil {
		return nil, err
	}
	return c, nil
}

// dropManagedFields keeps half of an object's bytes out of the informers; nothing that is decided here looks at them.
func dropManagedFields(o any) (any, error) {
	if a, err := meta.Accessor(o); err == nil {
		a.SetManagedFields(nil)
	}
	return o, nil
}

// Loopback is the configuration of clients in this process: no socket, all rights, no rate limit.
func (s *Server) Loopback() *restclient.Config { return restclient.CopyConfig(s.loopback) }

// Run serves until ctx ends; ready is called once when the API and its definitions answer.
func (s *Server) Run(ctx context.Context, ready func()) error {
	// Once begun, the start is brought to its end: upstream's hooks exit the process when they are stopped half way.
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer close(s.ended)
	defer s.informers.Shutdown()
	defer s.custom.Informers.Shutdown()
	defer s.roles.stop()
	defer stop()
	prepared := s.api.PrepareRun()
	s.inProcess.serve(s.api.Handler)
	s.roles.run(serving)
	// A definition's informer that syncs after the server listens costs a 100 ms poll of upstream's readiness hook.
	s.custom.Informers.Start(serving.Done())
	s.informers.Start(serving.Done())
	s.custom.Informers.WaitForCacheSync(serving.Done())
	s.informers.WaitForCacheSync(serving.Done())
	s.defined.update()
	s.api.ShutdownTimeout = s.options.ShutdownTimeout
	var err error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		err = prepared.RunWithContext(serving)
	}()
	if s.awaitReady(serving, ended) && ctx.Err() == nil {
		ready()
	}
	select {
	case <-ctx.Done():
	case <-ended:
	}
	stop()
	<-ended
	return err
}

// awaitReady asks /readyz until it says yes; it gives false when the API ends first. Upstream offers no notification;
// this lasts some milliseconds, once.
func (s *Server) awaitReady(ctx context.Context, ended <-chan struct{}) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://in-process/readyz", nil)
	if err != nil {
		return false // never: the address is a constant
	}
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		response, err := s.inProcess.RoundTrip(request)
		if err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return true
			}
		}
		select {
		case <-ended:
			return false
		case <-tick.C:
		}
	}
}
