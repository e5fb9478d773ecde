resource "aws_cloudwatch_metric_alarm" "dead" {
  alarm_name          = "${var.name}-jobs-set-aside"
  alarm_description   = "Jobs were set aside: facerec jobs list tells why."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = { QueueName = aws_sqs_queue.dead.name }
  statistic           = "Maximum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  period              = 300
  evaluation_periods  = 1
  alarm_actions       = var.alarm_topic_arns
}

resource "aws_cloudwatch_metric_alarm" "waiting" {
  alarm_name          = "${var.name}-jobs-wait"
  alarm_description   = "The oldest fresh job has waited for ten minutes."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateAgeOfOldestMessage"
  dimensions          = { QueueName = aws_sqs_queue.jobs["fresh"].name }
  statistic           = "Maximum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 600
  period              = 60
  evaluation_periods  = 5
  alarm_actions       = var.alarm_topic_arns
}

resource "aws_cloudwatch_metric_alarm" "errors" {
  alarm_name          = "${var.name}-errors"
  alarm_description   = "The service answers with errors of its own."
  namespace           = "AWS/ApplicationELB"
  metric_name         = "HTTPCode_Target_5XX_Count"
  dimensions          = { LoadBalancer = aws_lb.api.arn_suffix }
  statistic           = "Sum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 20
  period              = 60
  evaluation_periods  = 3
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topic_arns
}

# When nobody answers, no target counts an error: this is the alarm that tells.
resource "aws_cloudwatch_metric_alarm" "nobody" {
  alarm_name          = "${var.name}-nobody-answers"
  alarm_description   = "No process of the API is ready: look at the service's events in ECS, then at the database."
  namespace           = "AWS/ApplicationELB"
  metric_name         = "HealthyHostCount"
  dimensions          = { LoadBalancer = aws_lb.api.arn_suffix, TargetGroup = aws_lb_target_group.api.arn_suffix }
  statistic           = "Maximum"
  comparison_operator = "LessThanThreshold"
  threshold           = 1
  period              = 60
  evaluation_periods  = 2
  treat_missing_data  = "breaching"
  alarm_actions       = var.alarm_topic_arns
}

resource "aws_cloudwatch_metric_alarm" "room" {
  alarm_name          = "${var.name}-database-room"
  alarm_description   = "The database has less than 10 GiB left."
  namespace           = "AWS/RDS"
  metric_name         = "FreeStorageSpace"
  dimensions          = { DBInstanceIdentifier = aws_db_instance.postgres.identifier }
  statistic           = "Minimum"
  comparison_operator = "LessThanThreshold"
  threshold           = 10737418240
  period              = 300
  evaluation_periods  = 2
  alarm_actions       = var.alarm_topic_arns
}

output "endpoint" {
  description = "Address of the balancer; AWS clients take it as their endpoint."
  value       = "https://${aws_lb.api.dns_name}"
}

output "secret" {
  description = "Secret that holds API_KEY."
  value       = aws_secretsmanager_secret.service.name
}
