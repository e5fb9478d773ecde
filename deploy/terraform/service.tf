locals {
  environment = {
    ENVIRONMENT                  = "production"
    AWS_REGION                   = var.region
    POSTGRES_HOST                = aws_db_instance.postgres.address
    POSTGRES_USER                = "facerec"
    POSTGRES_DB                  = "facerec"
    VECTOR_STORE                 = "pgvector"
    REDIS_URL                    = var.redis ? "rediss://${aws_elasticache_replication_group.redis[0].primary_endpoint_address}:6379/0" : ""
    SQS_QUEUE_NAME               = aws_sqs_queue.jobs["fresh"].name
    AWS_S3_BUCKET                = var.image_bucket
    FACEREC_S3_EVENTS_COLLECTION = var.events_collection
    FACEREC_SERVE_JOBS           = "false"
    FACEREC_DRAIN_SECONDS        = "5"
  }
  api_environment    = merge(local.environment, { FACEREC_THREADS = "4" })
  worker_environment = merge(local.environment, { FACEREC_SPOT_NOTICE = "auto" })
  secrets = [for name in ["API_KEY", "POSTGRES_PASSWORD"] : {
    name      = name
    valueFrom = "${aws_secretsmanager_secret.service.arn}:${name}::"
  }]
}

resource "aws_ecs_cluster" "main" {
  name = var.name
  setting {
    name  = "containerInsights"
    value = "enabled"
  }
}

resource "aws_cloudwatch_log_group" "service" {
  name              = "/${var.name}"
  retention_in_days = 30
}

resource "aws_ecs_task_definition" "api" {
  family                   = "${var.name}-api"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = 4096
  memory                   = 8192
  task_role_arn            = aws_iam_role.service.arn
  execution_role_arn       = aws_iam_role.start.arn
  container_definitions = jsonencode([{
    name                   = "api"
    image                  = var.api_image
    essential              = true
    readonlyRootFilesystem = true
    user                   = "10001:10001"
    stopTimeout            = 45
    command                = ["facerec", "serve", "--host", "0.0.0.0", "--port", "8000"]
    portMappings           = [{ containerPort = 8000 }]
    environment            = [for name, value in local.api_environment : { name = name, value = value }]
    secrets                = local.secrets
    mountPoints            = [{ sourceVolume = "data", containerPath = "/data" }, { sourceVolume = "tmp", containerPath = "/tmp" }]
    logConfiguration = {
      logDriver = "awslogs"
      options   = { awslogs-group = aws_cloudwatch_log_group.service.name, awslogs-region = var.region, awslogs-stream-prefix = "api" }
    }
  }])
  volume { name = "data" }
  volume { name = "tmp" }
}

resource "aws_ecs_service" "api" {
  name                              = "api"
  cluster                           = aws_ecs_cluster.main.id
  task_definition                   = aws_ecs_task_definition.api.arn
  launch_type                       = "FARGATE"
  desired_count                     = 2
  health_check_grace_period_seconds = 120
  network_configuration {
    subnets         = var.private_subnets
    security_groups = [aws_security_group.service.id]
  }
  load_balancer {
    target_group_arn = aws_lb_target_group.api.arn
    container_name   = "api"
    container_port   = 8000
  }
  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }
  depends_on = [aws_lb_listener.api]
  lifecycle { ignore_changes = [desired_count] }
}

resource "aws_appautoscaling_target" "api" {
  service_namespace  = "ecs"
  scalable_dimension = "ecs:service:DesiredCount"
  resource_id        = "service/${aws_ecs_cluster.main.name}/${aws_ecs_service.api.name}"
  min_capacity       = 2
  max_capacity       = 10
}

resource "aws_appautoscaling_policy" "api" {
  name               = "processors"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.api.service_namespace
  scalable_dimension = aws_appautoscaling_target.api.scalable_dimension
  resource_id        = aws_appautoscaling_target.api.resource_id
  target_tracking_scaling_policy_configuration {
    target_value = 65
    predefined_metric_specification { predefined_metric_type = "ECSServiceAverageCPUUtilization" }
  }
}
