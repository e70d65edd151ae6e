package kubelet

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/alb-appliance/appliance/appliance/kubelet/shell"
)

// retryAfter is how long the node waits after the API refused it.
const retryAfter = time.Second

// pod is one pod on one node. Its goroutine owns everything but the mailbox; what other goroutines see, they post.
type pod struct {
	*runtime
	mailbox
	uid     types.UID
	name    types.NamespacedName
	created time.Time
	node    Node

	object     *corev1.Pod // as last seen in the API
	ip         netip.Addr
	containers []*container // the init containers, then the others, in order
	startTime  metav1.Time
	restored   bool   // it ran before this process: containers that run again were restarted
	settled    func() // called once, when everything that can run at once runs

	ctx         context.Context // ends with the pod
	cancel      context.CancelFunc
	holding     string // what the status waits for
	heldSince   time.Time
	terminating bool
	gone        bool // it is no longer in the API
	failed      bool // a container that must not fail did
	executed    bool // a container was started
	retry       clockwork.Timer
	awaited     map[object]*watch
	told        map[string]bool           // warnings that are given once
	emptyDirs   map[string]*shell.Scratch // by volume; the map does not change
	tokens      tokens
	executions  sync.WaitGroup
}

func newPod(ctx context.Context, r *runtime, n Node, o *corev1.Pod, settled func()) *pod {
	p := &pod{
		runtime: r, mailbox: mailbox{wake: make(chan struct{}, 1)},
		uid: o.UID, name: types.NamespacedName{Namespace: o.Namespace, Name: o.Name}, created: o.CreationTimestamp.Time,
		node: n, object: o, settled: settled, awaited: map[object]*watch{}, told: map[string]bool{}, emptyDirs: map[string]*shell.Scratch{},
		startTime: metav1.NewTime(r.options.Clock.Now()).Rfc3339Copy(),
	}
	p.tokens.have = map[string]issued{}
	p.ctx, p.cancel = context.WithCancel(ctx)
	for _, v := range o.Spec.Volumes {
		if v.EmptyDir != nil {
			p.emptyDirs[v.Name] = &shell.Scratch{}
		}
	}
	if o.Status.StartTime != nil {
		p.startTime = *o.Status.StartTime
	}
	p.restored = o.Status.Phase == corev1.PodRunning
	for i := range o.Spec.InitContainers {
		p.containers = append(p.containers, newContainer(p, &o.Spec.InitContainers[i], true))
	}
	for i := range o.Spec.Containers {
		p.containers = append(p.containers, newContainer(p, &o.Spec.Containers[i], false))
	}
	return p
}

// run owns the pod until it is gone or its context ends.
func (p *pod) run() {
	defer p.end()
	p.sync()
	for !p.gone {
		select {
		case <-p.ctx.Done():
			return
		case <-p.wake:
			for _, f := range p.take() {
				f()
			}
			p.sync()
		}
	}
}

// end cuts what still runs.
func (p *pod) end() {
	for _, c := range p.containers {
		c.kill()
	}
	p.cancel()
	p.executions.Wait()
	if p.retry != nil {
		p.retry.Stop()
	}
	p.releaseAddress()
	p.settle()
}

func (p *pod) settle() {
	if p.settled != nil {
		p.settled()
		p.settled = nil
	}
}

// observe takes the object as the API has it. What comes late, before our own last write, is of no use.
func (p *pod) observe(o *corev1.Pod) {
	if order, err := resourceversion.CompareResourceVersion(o.ResourceVersion, p.object.ResourceVersion); err == nil && order <= 0 {
		return
	}
	p.object = o
	for i := range o.Spec.InitContainers {
		p.containers[i].observe(&o.Spec.InitContainers[i])
	}
	for i := range o.Spec.Containers {
		p.containers[len(o.Spec.InitContainers)+i].observe(&o.Spec.Containers[i])
	}
}

// sync does what is to be done now and tells the API what changed.
func (p *pod) sync() {
	if p.gone {
		return
	}
	switch {
	case p.object.DeletionTimestamp != nil:
		p.terminate()
	case isTerminal(p.object):
		p.releaseAddress()
		return
	default:
		p.advance()
	}
	if p.busy() || p.held() {
		return // what is under way will post its result
	}
	if p.terminating && !p.executed {
		p.remove() // nothing ran, nothing is to be told
		return
	}
	if err := p.report(); err != nil {
		p.again("write status", err)
		return
	}
	p.settle()
	if p.terminating && p.stopped() {
		p.remove()
	}
}

// again looks once more after a while.
func (p *pod) again(what string, err error) {
	if p.ctx.Err() != nil {
		return
	}
	p.options.Logger.Debug("pod waits for the API", "pod", p.name, "what", what, "err", err)
	p.wakeAfter(retryAfter)
}

// wakeAfter arms the pod's timer for another look.
func (p *pod) wakeAfter(d time.Duration) {
	if p.retry != nil {
		p.retry.Stop()
	}
	p.retry = p.options.Clock.AfterFunc(d, func() { p.post(func() {}) })
}

// advance starts what may run now: the init containers one after the other, then the others together.
func (p *pod) advance() {
	if !p.takeAddress() || !p.volumesReady() {
		return
	}
	if p.failed {
		p.stopAll(p.gracePeriod())
		return
	}
	for _, c := range p.containers {
		if c.init && !c.initialized() {
			c.step()
			if !c.initialized() {
				return
			}
		} else if !c.init || c.sidecar() {
			c.step()
		}
		if c.state == starting {
			return // one after the other: of two that want a port, the first gets it
		}
	}
	if p.completed() {
		p.stopSidecars(p.gracePeriod())
	}
}

// takeAddress gives the pod its address.
func (p *pod) takeAddress() bool {
	if p.ip.IsValid() {
		return true
	}
	if p.object.Spec.HostNetwork {
		p.ip = p.node.Address
		return true
	}
	if ip, err := netip.ParseAddr(p.object.Status.PodIP); err == nil && p.addresses.of(ip, p.uid) {
		p.ip = ip
		return true
	}
	ip, err := p.addresses.allocate(p.node.Pods, p.uid)
	if err != nil {
		p.tell(corev1.EventTypeWarning, "FailedCreatePodSandBox", "Failed to create pod sandbox: "+err.Error())
		p.wakeAfter(firstBackoff)
		return false
	}
	p.ip = ip
	return true
}

func (p *pod) releaseAddress() {
	if p.ip.IsValid() && p.ip != p.node.Address {
		p.addresses.release(p.ip, p.uid)
	}
	p.ip = netip.Addr{}
}

// busy says whether a container is between being started and having started, which takes no time.
func (p *pod) busy() bool {
	for _, c := range p.containers {
		if c.state == starting {
			return true
		}
	}
	return false
}

// holdTime is how long the status waits for a first probe's answer or for a container's end, which are mostly there in a
// moment: one write then tells all of it.
const holdTime = 50 * time.Millisecond

// held says whether the status waits. A pod that was restored keeps what the API has of it until its probes answered, so
// that traffic does not stop.
func (p *pod) held() bool {
	what := ""
	for _, c := range p.containers {
		switch {
		case c.state == stopping:
			what = "end"
		case what == "" && c.settling():
			what = "start"
		}
	}
	now := p.options.Clock.Now()
	if what != p.holding {
		p.holding, p.heldSince = what, now
		if what != "" {
			p.wakeAfter(holdTime)
		}
	}
	return what == "start" && p.restored || what != "" && now.Sub(p.heldSince) < holdTime
}

// stopped says whether nothing runs any more.
func (p *pod) stopped() bool {
	for _, c := range p.containers {
		if c.runs() {
			return false
		}
	}
	return true
}

// completed says whether every container but the sidecars has ended for good.
func (p *pod) completed() bool {
	for _, c := range p.containers {
		if !c.init && (c.state != exited || c.restarts()) {
			return false
		}
	}
	return true
}

// gracePeriod is what the pod's containers get to end in.
func (p *pod) gracePeriod() time.Duration {
	switch {
	case p.object.DeletionGracePeriodSeconds != nil:
		return time.Duration(*p.object.DeletionGracePeriodSeconds) * time.Second
	case p.object.Spec.TerminationGracePeriodSeconds != nil:
		return time.Duration(*p.object.Spec.TerminationGracePeriodSeconds) * time.Second
	default:
		return corev1.DefaultTerminationGracePeriodSeconds * time.Second
	}
}

// terminate stops the containers, the sidecars last. It is called again when a later deletion shortens the grace period.
func (p *pod) terminate() {
	p.terminating = true
	p.stopAll(p.gracePeriod())
}

func (p *pod) stopAll(grace time.Duration) {
	mains := false
	for _, c := range p.containers {
		if !c.sidecar() {
			c.stop(grace, "Stopping container "+c.spec.Name)
			mains = mains || c.runs()
		}
	}
	if !mains {
		p.stopSidecars(grace)
	}
}

func (p *pod) stopSidecars(grace time.Duration) {
	for _, c := range p.containers {
		if c.sidecar() {
			c.stop(grace, "Stopping container "+c.spec.Name)
		}
	}
}

// remove takes the pod out of the API; the watch then says that it is gone.
func (p *pod) remove() {
	p.releaseAddress()
	now := int64(0)
	err := p.client.CoreV1().Pods(p.name.Namespace).Delete(p.ctx, p.name.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &now, Preconditions: metav1.NewUIDPreconditions(string(p.uid)),
	})
	if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		p.gone = true
		return
	}
	p.again("delete", err)
}

// tell writes an Event about the pod.
func (p *pod) tell(kind, reason, message string) { p.tellField(kind, reason, message, "") }

func (p *pod) tellField(kind, reason, message, field string) {
	p.events.tell(corev1.ObjectReference{
		Kind: "Pod", APIVersion: "v1", Namespace: p.name.Namespace, Name: p.name.Name, UID: p.uid,
		ResourceVersion: p.object.ResourceVersion, FieldPath: field,
	}, p.node.Name, kind, reason, message)
}
