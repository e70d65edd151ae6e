// Package alb is the ALB Ingress Controller: it makes ALB instances out of AlbConfigs, IngressClasses and Ingresses.
//
// The way of a change is load (listers to a Group), Build (a pure function to a Model or Problems), deploy (the
// difference to what the cloud has, in a safe order) and status. The unit is the group: all Ingresses of one AlbConfig.
// A group is built whole or not at all; what was deployed goes on serving (ALB-FACTS 0.2 fact 2). Only a listener that
// lacks a certificate waits alone.
package alb
