# PostgreSQL 17 of RDS has pgvector; `VECTOR_STORE=pgvector` makes the extension.
resource "aws_db_subnet_group" "postgres" {
  name       = var.name
  subnet_ids = var.private_subnets
}

resource "random_password" "postgres" {
  length  = 32
  special = false
}

resource "aws_db_instance" "postgres" {
  identifier                      = var.name
  engine                          = "postgres"
  engine_version                  = "17"
  instance_class                  = var.database_class
  allocated_storage               = 50
  max_allocated_storage           = 500
  storage_encrypted               = true
  multi_az                        = true
  db_name                         = "facerec"
  username                        = "facerec"
  password                        = random_password.postgres.result
  db_subnet_group_name            = aws_db_subnet_group.postgres.name
  vpc_security_group_ids          = [aws_security_group.data.id]
  publicly_accessible             = false
  backup_retention_period         = 14
  deletion_protection             = true
  copy_tags_to_snapshot           = true
  performance_insights_enabled    = true
  enabled_cloudwatch_logs_exports = ["postgresql"]
  skip_final_snapshot             = false
  final_snapshot_identifier       = "${var.name}-final"
}

resource "aws_elasticache_subnet_group" "redis" {
  count      = var.redis ? 1 : 0
  name       = var.name
  subnet_ids = var.private_subnets
}

resource "aws_elasticache_replication_group" "redis" {
  count                      = var.redis ? 1 : 0
  replication_group_id       = var.name
  description                = "Sessions, rates and results of ${var.name}"
  engine                     = "valkey"
  node_type                  = "cache.t4g.small"
  num_cache_clusters         = 2
  automatic_failover_enabled = true
  at_rest_encryption_enabled = true
  transit_encryption_enabled = true
  subnet_group_name          = aws_elasticache_subnet_group.redis[0].name
  security_group_ids         = [aws_security_group.data.id]
}

resource "random_password" "api_key" {
  length  = 48
  special = false
}

resource "aws_secretsmanager_secret" "service" {
  name_prefix = "${var.name}-"
}

resource "aws_secretsmanager_secret_version" "service" {
  secret_id = aws_secretsmanager_secret.service.id
  secret_string = jsonencode({
    API_KEY           = random_password.api_key.result
    POSTGRES_PASSWORD = random_password.postgres.result
  })
}
