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
	batch := s.factory.Batch().V1()
	if err := s.whenUsed(ctx, start, batch.Jobs().Informer(), (*set).jobs); err != nil {
		return err
	}
	return s.whenUsed(ctx, start, batch.CronJobs().Informer(), (*set).cronJobs)
}

func (s *set) jobs(ctx context.Context, start starter) error {
	jobs := s.factory.Batch().V1().Jobs()
	j, err := job.NewController(ctx, s.client, s.factory.Core().V1().Pods(), jobs, nil, nil)
	if err != nil {
		return fmt.Errorf("make job controller: %w", err)
	}
	t := ttlafterfinished.New(ctx, jobs, s.client)
	start(func(ctx context.Context) { j.Run(ctx, 1) })
	start(func(ctx context.Context) { t.Run(ctx, 1) })
	return nil
}

func (s *set) cronJobs(ctx context.Context, start starter) error {
	batch := s.factory.Batch().V1()
	c, err := cronjob.NewControllerV2(ctx, batch.Jobs(), batch.CronJobs(), s.client)
	if err != nil {
		return fmt.Errorf("make cron job controller: %w", err)
	}
	start(func(ctx context.Context) { c.Run(ctx, 1) })
	return nil
}
