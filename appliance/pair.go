package appliance

import (
	"fmt"
	"os"
)

// checkPair refuses one store without the other: an empty file is taken for a new store, and would be filled as one
// while all that belongs to the other is lost. The object store has its first write when the cloud has its network, so
// a first start that was killed leaves no such pair.
func (a *Appliance) checkPair() error {
	if a.config.Ephemeral || a.store == nil {
		return nil
	}
	info, err := os.Stat(a.file(fileCloud))
	cloudEmpty := err != nil || info.Size() == 0
	objectsEmpty := a.store.Revision() == 1
	switch {
	case cloudEmpty && !objectsEmpty:
		return lone(a.file(fileObjects), a.file(fileCloud))
	case objectsEmpty && !cloudEmpty && a.bootedOnce():
		return lone(a.file(fileCloud), a.file(fileObjects))
	}
	return nil
}

// bootedOnce tells whether an appliance was ever ready on this directory: then there were objects.
func (a *Appliance) bootedOnce() bool {
	_, err := os.Stat(a.dir.Path(fileKubeconfig))
	return err == nil
}

func lone(there, missing string) error {
	return fmt.Errorf("open %s: it is empty or missing, and %s is not: restore a backup with `appliance restore FILE`, or move %s away, too, to start empty", missing, there, there)
}
