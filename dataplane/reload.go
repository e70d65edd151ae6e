package dataplane

import "time"

// Reload tells what becomes of a listener's connections when its configuration changes. When Generation differs the
// real product restarts its workers (NGINX-FACTS 1): new connections are served at once by the new configuration;
// those begun before are closed once they are idle, and cut after CutAfter whatever they carry, tunnels included.
// It reports false when connections go on: old is nil, the generation is the same, or CutAfter is 0, as for class alb,
// which cuts nothing (DESIGN 4c).
func Reload(old, now *Listener) (cutAfter time.Duration, reload bool) {
	if old == nil || old.Generation == now.Generation || now.CutAfter <= 0 {
		return 0, false
	}
	return now.CutAfter, true
}
