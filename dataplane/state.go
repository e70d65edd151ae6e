package dataplane

import (
	"sync"
	"sync/atomic"
)

// State is what balancing remembers across snapshots, keyed by stable ids: round-robin turns and health. It is safe
// for concurrent use.
type State struct {
	mu        sync.RWMutex
	turns     map[string]*atomic.Uint64
	unhealthy map[string]bool
}

// NewState returns an empty state: every endpoint is healthy, every turn is the first.
func NewState() *State {
	return &State{turns: map[string]*atomic.Uint64{}, unhealthy: map[string]bool{}}
}

// Turn gives the next turn of an upstream, counting from 0.
func (s *State) Turn(upstreamID string) uint64 {
	s.mu.RLock()
	t := s.turns[upstreamID]
	s.mu.RUnlock()
	if t == nil {
		t = s.addTurn(upstreamID)
	}
	return t.Add(1) - 1
}

// addTurn starts an upstream's counter.
func (s *State) addTurn(upstreamID string) *atomic.Uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.turns[upstreamID]
	if t == nil {
		t = new(atomic.Uint64)
		s.turns[upstreamID] = t
	}
	return t
}

// Healthy reports whether an endpoint may be preferred; unknown ones are healthy.
func (s *State) Healthy(endpointID string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return !s.unhealthy[endpointID]
}

// SetHealthy notes the result of an endpoint's health checks.
func (s *State) SetHealthy(endpointID string, healthy bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if healthy {
		delete(s.unhealthy, endpointID)
	} else {
		s.unhealthy[endpointID] = true
	}
}

// Keep forgets whatever belongs to upstreams and endpoints that a program no longer has.
func (s *State) Keep(p *Program) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.turns {
		if _, ok := p.upstreams[id]; !ok {
			delete(s.turns, id)
		}
	}
	if len(s.unhealthy) == 0 {
		return
	}
	endpoints := p.endpointIDs()
	for id := range s.unhealthy {
		if !endpoints[id] {
			delete(s.unhealthy, id)
		}
	}
}

// endpointIDs is the set of all endpoints of a program.
func (p *Program) endpointIDs() map[string]bool {
	ids := map[string]bool{}
	for _, u := range p.upstreams {
		for i := range u.conf.Endpoints {
			ids[u.conf.Endpoints[i].ID] = true
		}
	}
	return ids
}
