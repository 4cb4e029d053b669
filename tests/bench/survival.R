# R's survfit on the records of tests/bench/survival: seconds it takes, number of event times, survival at the last
# and at the middle one. Leaves with 3 where the package is missing.
if (!suppressWarnings(suppressPackageStartupMessages(require(survival, quietly = TRUE)))) quit(status = 3)
path <- commandArgs(TRUE)[1]
raw <- matrix(readBin(path, "raw", file.size(path)), nrow = 10)
# Nanoseconds below 2^53: a double holds them.
time <- as.vector(256^(0:7) %*% matrix(as.integer(raw[1:8, ]), nrow = 8))
event <- as.integer(raw[9, ])
y <- Surv(time, event)
invisible(gc())
seconds <- system.time(fit <- survfit(y ~ 1, conf.type = "log-log", timefix = FALSE), gcFirst = FALSE)["elapsed"]
s <- fit$surv[fit$n.event > 0]
cat(sprintf("%.17g", c(seconds, length(s), tail(s, 1), s[length(s) %/% 2 + 1])), "\n")
