package apiserver

import (
	"context"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/etcd/client/v3/kubernetes"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/registry/generic"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/cacher"
	"k8s.io/apiserver/pkg/storage/etcd3"
	"k8s.io/apiserver/pkg/storage/feature"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/apiserver/pkg/storage/value/encrypt/identity"
	"k8s.io/client-go/tools/cache"
	"k8s.io/kubernetes/pkg/api/legacyscheme"

	"github.com/alb-appliance/appliance/state/kv"
)

// registryPrefix is where upstream keeps its objects in etcd; the same keys make `--etcd-servers` interchangeable.
const registryPrefix = "/registry"

// Backend says where objects are kept: in an embedded store, or in etcd servers. Exactly one field is set.
type Backend struct {
	Store       *kv.Store
	EtcdServers []string
}

// options makes the storage of each kind (generic.RESTOptionsGetter). The zero codecs mean custom resources.
type options struct {
	backend Backend
	client  *kubernetes.Client // of the embedded store
	scheme  *runtime.Scheme
	codecs  serializer.CodecFactory
}

func newOptions(b Backend, scheme *runtime.Scheme, codecs serializer.CodecFactory) *options {
	o := &options{backend: b, scheme: scheme, codecs: codecs}
	if b.Store != nil {
		o.client = b.Store.Client()
	}
	return o
}

// supportWatchProgress tells upstream what the embedded store can do, so that consistent reads come from the watch
// cache; a real etcd is asked by upstream itself. Upstream asks in a goroutine of its own: a read that came before the
// answer would wait three seconds in vain, so the answer is waited for.
func supportWatchProgress(ctx context.Context, b Backend) {
	if b.Store == nil {
		return
	}
	checker := feature.DefaultFeatureSupportChecker
	checker.CheckClient(ctx, b.Store.FeatureClient(), storage.RequestWatchProgress)
	for !checker.Supports(storage.RequestWatchProgress) && ctx.Err() == nil {
		time.Sleep(100 * time.Microsecond)
	}
}

// GetRESTOptions implements generic.RESTOptionsGetter for the kinds of the scheme.
func (o *options) GetRESTOptions(resource schema.GroupResource, _ runtime.Object) (generic.RESTOptions, error) {
	versions := o.scheme.PrioritizedVersionsForGroup(resource.Group)
	if len(versions) == 0 {
		return generic.RESTOptions{}, fmt.Errorf("store %s: the scheme has no version of its group", resource)
	}
	codec, encodeVersion, err := serverstorage.NewStorageCodec(serverstorage.StorageCodecConfig{
		StorageMediaType:  runtime.ContentTypeProtobuf,
		StorageSerializer: o.codecs,
		StorageVersion:    versions[0],
		// Registries work on internal objects; "__internal" is not a registered version, hence no other way to ask.
		MemoryVersion: schema.GroupVersion{Group: resource.Group, Version: runtime.APIVersionInternal},
	})
	if err != nil {
		return generic.RESTOptions{}, fmt.Errorf("make storage codec of %s: %w", resource, err)
	}
	config := storagebackend.NewDefaultConfig(registryPrefix, codec)
	config.EncodeVersioner = encodeVersion
	k, _ := kindOf(resource)
	return o.restOptions(config, resource, k.warm || o.scheme != legacyscheme.Scheme), nil
}

// customResources is the storage of kinds that CustomResourceDefinitions define: unstructured JSON.
type customResources struct{ *options }

// GetRESTOptions implements generic.RESTOptionsGetter.
func (c customResources) GetRESTOptions(resource schema.GroupResource, _ runtime.Object) (generic.RESTOptions, error) {
	config := storagebackend.NewDefaultConfig(registryPrefix, unstructured.UnstructuredJSONScheme)
	return c.restOptions(config, resource, true), nil
}

// uncached is the same storage without the watch cache: for what is read and written before the server runs.
type uncached struct{ *options }

// GetRESTOptions implements generic.RESTOptionsGetter.
func (u uncached) GetRESTOptions(resource schema.GroupResource, example runtime.Object) (generic.RESTOptions, error) {
	rest, err := u.options.GetRESTOptions(resource, example)
	rest.Decorator = u.rawStorage
	if u.client == nil {
		rest.Decorator = generic.UndecoratedStorage
	}
	return rest, err
}

func (o *options) restOptions(config *storagebackend.Config, resource schema.GroupResource, cached bool) generic.RESTOptions {
	prefix := resource.Resource
	if resource.Group != "" {
		prefix = resource.Group + "/" + resource.Resource
	}
	rest := generic.RESTOptions{EnableGarbageCollection: true, DeleteCollectionWorkers: 1, ResourcePrefix: prefix}
	switch {
	case o.client == nil:
		config.Transport.ServerList = o.backend.EtcdServers
		rest.Decorator = generic.UndecoratedStorage
		if cached {
			rest.Decorator = genericregistry.StorageWithCacher()
		}
	case cached:
		rest.Decorator = o.cachedStorage
	default:
		rest.Decorator = o.rawStorage
	}
	rest.StorageConfig = config.ForResource(resource)
	return rest
}

// rawStorage is upstream's etcd3 storage on the embedded store: what generic.UndecoratedStorage is for a real etcd.
func (o *options) rawStorage(config *storagebackend.ConfigForResource, prefix string, _ func(runtime.Object) (string, error),
	newFunc, newListFunc func() runtime.Object, _ storage.AttrFunc, _ storage.IndexerFuncs, _ *cache.Indexers,
) (storage.Interface, factory.DestroyFunc, error) {
	s, err := o.etcd3(config, prefix, newFunc, newListFunc)
	if err != nil {
		return nil, nil, err
	}
	return s, func() { s.Close() }, nil
}

// cachedStorage puts upstream's watch cache before rawStorage: what genericregistry.StorageWithCacher is for etcd.
func (o *options) cachedStorage(config *storagebackend.ConfigForResource, prefix string, keyFunc func(runtime.Object) (string, error),
	newFunc, newListFunc func() runtime.Object, attrs storage.AttrFunc, triggers storage.IndexerFuncs, indexers *cache.Indexers,
) (storage.Interface, factory.DestroyFunc, error) {
	raw, err := o.etcd3(config, prefix, newFunc, newListFunc)
	if err != nil {
		return nil, nil, err
	}
	s := prompt{raw, o.backend.Store, config.Prefix + absolute(prefix)}
	c, err := cacher.NewCacherFromConfig(cacher.Config{
		Storage: s, Versioner: storage.APIObjectVersioner{}, GroupResource: config.GroupResource,
		EventsHistoryWindow: config.EventsHistoryWindow, ResourcePrefix: absolute(prefix), KeyFunc: keyFunc,
		NewFunc: newFunc, NewListFunc: newListFunc, GetAttrsFunc: attrs, IndexerFuncs: triggers, Indexers: indexers,
		Codec: config.Codec,
	})
	if err != nil {
		s.Close()
		return nil, nil, fmt.Errorf("make watch cache of %s: %w", config.GroupResource, err)
	}
	d := cacher.NewCacheDelegator(c, s)
	return d, func() { d.Stop(); c.Stop(); s.Close() }, nil
}

type closableStorage interface {
	storage.Interface
	Close()
}

// prompt has a consistent read wait for the watch cache no longer than it takes: upstream asks a watch what it has reached
// every 100 ms, for it would cost a real etcd something.
type prompt struct {
	closableStorage
	store  *kv.Store
	prefix string // of the kind's keys
}

// GetCurrentResourceVersion implements storage.Interface.
func (p prompt) GetCurrentResourceVersion(context.Context) (uint64, error) {
	revision := p.store.Revision()
	p.store.RequestProgress(p.prefix)
	return uint64(revision), nil
}

// ownLease gives each Event a lease of its own: upstream shares one for a minute of the machine's clock, and the one
// clock can be moved past that lease's end meanwhile.
var ownLease = etcd3.LeaseManagerConfig{ReuseDurationSeconds: 0, MaxObjectCount: 1}

func (o *options) etcd3(config *storagebackend.ConfigForResource, prefix string, newFunc, newListFunc func() runtime.Object) (closableStorage, error) {
	versioner := storage.APIObjectVersioner{}
	s, err := etcd3.New(o.client, nil, config.Codec, newFunc, newListFunc, config.Prefix, absolute(prefix), config.GroupResource,
		identity.NewEncryptCheckTransformer(), ownLease, etcd3.NewDefaultDecoder(config.Codec, versioner), versioner)
	if err != nil {
		return nil, fmt.Errorf("make storage of %s: %w", config.GroupResource, err)
	}
	return s, nil
}

func absolute(prefix string) string {
	return "/" + strings.TrimPrefix(prefix, "/")
}
