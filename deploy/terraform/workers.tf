# Workers: one machine on demand, so that work always goes on, and spot machines above it by the length of the queue.
resource "aws_launch_template" "worker" {
  name_prefix            = "${var.name}-worker-"
  image_id               = var.worker_image_id
  instance_type          = var.worker_instance_type
  vpc_security_group_ids = [aws_security_group.service.id]
  user_data              = base64encode("#!/bin/sh\necho ECS_CLUSTER=${aws_ecs_cluster.main.name} >> /etc/ecs/ecs.config\necho ECS_ENABLE_SPOT_INSTANCE_DRAINING=true >> /etc/ecs/ecs.config\n")
  iam_instance_profile { arn = aws_iam_instance_profile.machine.arn }
  metadata_options {
    http_tokens                 = "required"
    http_put_response_hop_limit = 1 # workers share the machine's network: that is near enough for a spot machine's notice
  }
  block_device_mappings {
    device_name = "/dev/xvda"
    ebs { encrypted = true }
  }
}

resource "aws_autoscaling_group" "worker" {
  name_prefix           = "${var.name}-worker-"
  vpc_zone_identifier   = var.private_subnets
  min_size              = 1
  max_size              = 10
  protect_from_scale_in = true
  mixed_instances_policy {
    instances_distribution {
      on_demand_base_capacity                  = 1
      on_demand_percentage_above_base_capacity = 0
      spot_allocation_strategy                 = "price-capacity-optimized"
    }
    launch_template {
      launch_template_specification {
        launch_template_id = aws_launch_template.worker.id
        version            = aws_launch_template.worker.latest_version
      }
      override { instance_type = var.worker_instance_type }
      override { instance_type = "c7i.2xlarge" }
      override { instance_type = "m6i.2xlarge" }
    }
  }
  tag {
    key                 = "AmazonECSManaged"
    value               = "true"
    propagate_at_launch = true
  }
}

resource "aws_ecs_capacity_provider" "worker" {
  name = "${var.name}-worker"
  auto_scaling_group_provider {
    auto_scaling_group_arn         = aws_autoscaling_group.worker.arn
    managed_termination_protection = "ENABLED"
    managed_scaling {
      status          = "ENABLED"
      target_capacity = 100
    }
  }
}

resource "aws_ecs_cluster_capacity_providers" "main" {
  cluster_name       = aws_ecs_cluster.main.name
  capacity_providers = ["FARGATE", aws_ecs_capacity_provider.worker.name]
}

resource "aws_ecs_task_definition" "worker" {
  family                   = "${var.name}-worker"
  requires_compatibilities = ["EC2"]
  network_mode             = "host"
  task_role_arn            = aws_iam_role.service.arn
  execution_role_arn       = aws_iam_role.start.arn
  container_definitions = jsonencode([{
    name                   = "worker"
    image                  = var.worker_image
    essential              = true
    readonlyRootFilesystem = true
    user                   = "10001:10001"
    cpu                    = 8192
    memory                 = 12288
    stopTimeout            = 110
    command                = ["facerec", "worker"]
    environment            = [for name, value in local.worker_environment : { name = name, value = value }]
    secrets                = local.secrets
    mountPoints            = [{ sourceVolume = "data", containerPath = "/data" }]
    linuxParameters        = { tmpfs = [{ containerPath = "/tmp", size = 512 }] }
    logConfiguration = {
      logDriver = "awslogs"
      options   = { awslogs-group = aws_cloudwatch_log_group.service.name, awslogs-region = var.region, awslogs-stream-prefix = "worker" }
    }
  }])
  volume {
    name = "data"
    docker_volume_configuration { scope = "task" }
  }
}

resource "aws_ecs_service" "worker" {
  name            = "worker"
  cluster         = aws_ecs_cluster.main.id
  task_definition = aws_ecs_task_definition.worker.arn
  desired_count   = 1
  capacity_provider_strategy {
    capacity_provider = aws_ecs_capacity_provider.worker.name
    weight            = 1
  }
  depends_on = [aws_ecs_cluster_capacity_providers.main]
  lifecycle { ignore_changes = [desired_count] }
}

resource "aws_appautoscaling_target" "worker" {
  service_namespace  = "ecs"
  scalable_dimension = "ecs:service:DesiredCount"
  resource_id        = "service/${aws_ecs_cluster.main.name}/${aws_ecs_service.worker.name}"
  min_capacity       = 1
  max_capacity       = 10
}

# Another worker for each thousand images that wait, in both queues together.
resource "aws_appautoscaling_policy" "worker" {
  name               = "queue"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.worker.service_namespace
  scalable_dimension = aws_appautoscaling_target.worker.scalable_dimension
  resource_id        = aws_appautoscaling_target.worker.resource_id
  target_tracking_scaling_policy_configuration {
    target_value       = 1000
    scale_in_cooldown  = 300
    scale_out_cooldown = 60
    customized_metric_specification {
      metrics {
        id          = "each"
        expression  = "(fresh + backlog) / IF(running > 0, running, 1)"
        return_data = true
      }
      dynamic "metrics" {
        for_each = aws_sqs_queue.jobs
        content {
          id          = metrics.key
          return_data = false
          metric_stat {
            stat = "Maximum"
            metric {
              namespace   = "AWS/SQS"
              metric_name = "ApproximateNumberOfMessagesVisible"
              dimensions {
                name  = "QueueName"
                value = metrics.value.name
              }
            }
          }
        }
      }
      metrics {
        id          = "running"
        return_data = false
        metric_stat {
          stat = "Average"
          metric {
            namespace   = "ECS/ContainerInsights"
            metric_name = "RunningTaskCount"
            dimensions {
              name  = "ClusterName"
              value = aws_ecs_cluster.main.name
            }
            dimensions {
              name  = "ServiceName"
              value = aws_ecs_service.worker.name
            }
          }
        }
      }
    }
  }
}
