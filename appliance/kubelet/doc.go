// Package kubelet is the simulated nodes: it registers them, runs the pods that are bound to them as built-in images in
// this process, probes them, tells the API what became of them, and keeps podnet's table of Services (kube-proxy's part).
//
// What a user sees is what the real kubelet shows: statuses, conditions, reasons, Events and their words. What differs
// is said in an Event or here:
//
//   - Only the images of package images run; anything else is ErrImagePull.
//   - Containers have no processes. What is executed in one (kubectl exec, probes, hooks) runs in package shell, which sees
//     the files that a container would have, as far as they are known: ConfigMap, Secret, downward API and emptyDir
//     volumes are mounted, others are empty. The images' own programs read none of them (an Event says so).
//   - A recovered pod keeps its address; its containers are restarted as on a node that was rebooted.
//   - Time is the Clock's, except for what Go's own libraries measure.
//
// A pod is a goroutine that owns its state; everything that happens to it is posted to its mailbox, and after each batch
// it looks at what should be, acts, and writes its status when that changed. Timers are armed only when something is
// due.
package kubelet
