package workload

import (
	"context"
	"fmt"

	"k8s.io/kubernetes/pkg/controller/cronjob"
	"k8s.io/kubernetes/pkg/controller/job"
	"k8s.io/kubernetes/pkg/controller/ttlafterfinished"
)

// batch runs Jobs and CronJobs, and removes Jobs whose time after their end is over.
func (s *set) batch(ctx context.Context, start starter) error {
	jobs, cronJobs := s.factory.Batch().V1().Jobs(), s.factory.Batch().V1().CronJobs()
	err := s.whenUsed(ctx, start, jobs.Informer(), func(ctx context.Context, start starter) error {
		j, err := job.NewController(ctx, s.client, s.factory.Core().V1().Pods(), jobs, nil, nil)
		if err != nil {
			return fmt.Errorf("make job controller: %w", err)
		}
		t := ttlafterfinished.New(ctx, jobs, s.client)
		start(func(ctx context.Context) { j.Run(ctx, 1) })
		start(func(ctx context.Context) { t.Run(ctx, 1) })
		return nil
	})
	if err != nil {
		return err
	}
	return s.whenUsed(ctx, start, cronJobs.Informer(), func(ctx context.Context, start starter) error {
		c, err := cronjob.NewControllerV2(ctx, jobs, cronJobs, s.client)
		if err != nil {
			return fmt.Errorf("make cron job controller: %w", err)
		}
		start(func(ctx context.Context) { c.Run(ctx, 1) })
		return nil
	})
}
