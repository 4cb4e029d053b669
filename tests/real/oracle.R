# R's answer to each CSV file of a folder, as lines of `key value` with 17 digits. By default R takes times
# for equal that differ by less than 1.5e-8, of a unit or of their mean (timefix); here times are what they are.
suppressPackageStartupMessages(library(survival))
folder <- commandArgs(TRUE)[1]
probs <- c(.25, .5, .75, .9, .95)
kinds <- c("log-log", "log", "plain")

# The first time at or below the target; on a flat stretch its middle; without an end, its left end:
# what print(survfit) does for the median.
first <- function(x, y, target, tolerance = .Machine$double.eps^.5) {
  keep <- !is.na(y) & y < target + tolerance
  if (!any(keep)) return(NA)
  x <- x[keep]; y <- y[keep]
  if (abs(y[1] - target) < tolerance && any(y < y[1])) (x[1] + x[min(which(y < y[1]))]) / 2 else x[1]
}

for (file in list.files(folder, "[.]csv$", full.names = TRUE)) {
  out <- file(sub("csv$", "r", file), "w")
  say <- function(key, value) if (length(value)) writeLines(paste(key, sprintf("%.17g", as.numeric(value))), out)
  data <- read.csv(file, colClasses = c(group = "character", stratum = "character"))
  tau <- data$tau[1]
  for (group in sort(unique(data$group))) {
    part <- data[data$group == group, ]
    for (kind in kinds) {
      fit <- survfit(Surv(time, event) ~ 1, data = part, conf.type = kind, timefix = FALSE)
      s <- summary(fit)
      if (kind == kinds[1]) {
        say(paste("n", group), fit$n)
        say(paste("time", group, seq_along(s$time)), s$time)
        say(paste("at_risk", group, seq_along(s$time)), s$n.risk)
        say(paste("events", group, seq_along(s$time)), s$n.event)
        say(paste("undetected", group, seq_along(s$time)), s$surv)
        say(paste("standard_error", group, seq_along(s$time)), s$std.err)
        # R refuses an end before the first time.
        if (tau > min(fit$time)) {
          m <- summary(fit, rmean = tau)$table
          say(paste("mean", group), m["rmean"])
          say(paste("mean_se", group), m["se(rmean)"])
        }
      }
      say(paste(kind, "lower", group, seq_along(s$time)), s$lower)
      say(paste(kind, "upper", group, seq_along(s$time)), s$upper)
      q <- quantile(fit, probs)
      for (i in seq_along(probs)) {
        found <- c(q$quantile[i], q$lower[i], q$upper[i])
        # quantile() goes half way to the last censoring where the curve ends at the target;
        # print() does not, and neither do we.
        if (abs(tail(fit$surv, 1) - (1 - probs[i])) < 1e-8)
          found[1] <- first(fit$time, fit$surv, 1 - probs[i])
        # A band may turn back at its end. quantile() interpolates in the band sorted by height, which
        # then names a later time; print() takes the first time, and so do we.
        falls <- function(band) !is.unsorted(rev(band[!is.na(band)]))
        if (!falls(fit$lower)) found[2] <- first(fit$time, fit$lower, 1 - probs[i])
        if (!falls(fit$upper)) found[3] <- first(fit$time, fit$upper, 1 - probs[i])
        say(paste("quantile", kind, group, probs[i], c("at", "low", "high")), found)
      }
    }
  }
  if (length(unique(data$group)) > 1) for (rho in 0:1) {
    # survdiff of 3.5-3 fails when told timefix; the test knows only the order of times, so it gets that.
    data$order <- match(data$time, sort(unique(data$time)))
    # A singular covariance is an error in R, and no comparison in ours.
    try_it <- function(formula) tryCatch(survdiff(formula, data = data, rho = rho), error = function(e) NULL)
    plain <- try_it(Surv(order, event) ~ group)
    strata <- try_it(Surv(order, event) ~ group + strata(stratum))
    sum_of <- function(x) if (is.matrix(x)) rowSums(x) else x
    for (which in list(list("test", plain), list("stratified", strata))) {
      df <- if (is.null(which[[2]])) 0 else sum(sum_of(which[[2]]$exp) > 0) - 1
      if (df < 1) {
        say(paste(which[[1]], "chi2", rho), NA)
        next
      }
      say(paste(which[[1]], "chi2", rho), which[[2]]$chisq)
      say(paste(which[[1]], "p", rho), pchisq(which[[2]]$chisq, df, lower.tail = FALSE))
      say(paste(which[[1]], "expected", rho, seq_along(sum_of(which[[2]]$exp))), sum_of(which[[2]]$exp))
      say(paste(which[[1]], "variance", rho), which[[2]]$var[1, 1])
    }
  }
  if (any(data$cause == 1) && any(data$cause == 2)) {
    fit <- survfit(Surv(time, factor(cause, 0:2)) ~ 1, data = data, timefix = FALSE)
    for (cause in 1:2) {
      keep <- fit$n.event[, cause + 1] > 0
      say(paste("cause", cause, "time", seq_len(sum(keep))), fit$time[keep])
      say(paste("cause", cause, "incidence", seq_len(sum(keep))), fit$pstate[keep, cause + 1])
      say(paste("cause", cause, "error", seq_len(sum(keep))), fit$std.err[keep, cause + 1])
    }
  }
  close(out)
}
