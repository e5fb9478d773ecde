resource "aws_sqs_queue" "dead" {
  name                      = "${var.name}-dead"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
}

resource "aws_sqs_queue" "jobs" {
  for_each                  = { fresh = var.name, backlog = "${var.name}-backlog" }
  name                      = each.value
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead.arn
    maxReceiveCount     = 100 # above FACEREC_JOB_ATTEMPTS
  })
}

data "aws_caller_identity" "here" {}

data "aws_iam_policy_document" "bucket_tells" {
  statement {
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.jobs["fresh"].arn]
    principals {
      type        = "Service"
      identifiers = ["s3.amazonaws.com"]
    }
    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = ["arn:aws:s3:::${var.image_bucket}"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.here.account_id]
    }
  }
}

resource "aws_sqs_queue_policy" "bucket_tells" {
  queue_url = aws_sqs_queue.jobs["fresh"].id
  policy    = data.aws_iam_policy_document.bucket_tells.json
}

resource "aws_s3_bucket_notification" "images" {
  bucket = var.image_bucket
  queue {
    queue_arn = aws_sqs_queue.jobs["fresh"].arn
    events    = ["s3:ObjectCreated:*"]
  }
  depends_on = [aws_sqs_queue_policy.bucket_tells]
}
