variable "name" {
  description = "Name that everything begins with."
  type        = string
  default     = "facerec"
}

variable "region" {
  type    = string
  default = "us-east-1"
}

variable "vpc_id" {
  type = string
}

variable "public_subnets" {
  description = "Subnets of the balancer, in two zones."
  type        = list(string)
}

variable "private_subnets" {
  description = "Subnets of all else, with a way out (NAT or endpoints), in two zones."
  type        = list(string)
}

variable "certificate_arn" {
  description = "Certificate of the balancer (ACM)."
  type        = string
}

variable "allowed_cidrs" {
  description = "Who may reach the balancer."
  type        = list(string)
}

variable "api_image" {
  description = "Image of the target api, by digest."
  type        = string
}

variable "worker_image" {
  description = "Image of the target worker, by digest."
  type        = string
}

variable "image_bucket" {
  description = "Bucket whose new images are indexed."
  type        = string
}

variable "events_collection" {
  description = "Collection that they are indexed into."
  type        = string
}

variable "worker_instance_type" {
  type    = string
  default = "c6i.2xlarge"
}

variable "worker_image_id" {
  description = "ECS-optimised machine image of the workers."
  type        = string
}

variable "database_class" {
  type    = string
  default = "db.m7g.large"
}

variable "redis" {
  description = "Whether there is a Redis (ElastiCache) for sessions and rates."
  type        = bool
  default     = false
}

variable "alarm_topic_arns" {
  description = "SNS topics that alarms are told to."
  type        = list(string)
  default     = []
}
