package kubelet

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// registry knows the pods that run. It is safe for concurrent use.
type registry struct {
	mu    sync.Mutex
	byUID map[types.UID]*pod
}

func (r *registry) add(p *pod) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byUID[p.uid] = p
}

func (r *registry) remove(p *pod) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.byUID, p.uid)
}

func (r *registry) get(uid types.UID) *pod {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.byUID[uid]
}

// find gives the pod of a name; of two with one name (the older one ends) the younger.
func (r *registry) find(name types.NamespacedName) *pod {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found *pod
	for _, p := range r.byUID {
		if p.name == name && (found == nil || found.created.Before(p.created)) {
			found = p
		}
	}
	return found
}

// mailbox holds what is to be done by the goroutine that owns a pod. Posting never blocks.
type mailbox struct {
	mu    sync.Mutex
	posts []func()
	wake  chan struct{} // one slot: there is something
}

func (m *mailbox) post(f func()) {
	m.mu.Lock()
	m.posts = append(m.posts, f)
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default: // it is awake already
	}
}

func (m *mailbox) take() []func() {
	m.mu.Lock()
	defer m.mu.Unlock()
	posts := m.posts
	m.posts = nil
	return posts
}
