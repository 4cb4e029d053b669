# R's answers on the public data sets beside this file, with 17 digits. Writes gold_curves.csv (one line an event
# time) and gold_numbers.csv (quantiles, restricted means, log-rank tests). Run: Rscript gold.R, in this folder.
suppressPackageStartupMessages(library(survival))
made <- paste0("# ", sub(" Patched.*| \\(.*", "", R.version.string), ", survival ", packageVersion("survival"), ", gold.R")
kinds <- c("log-log", "log", "plain")
probs <- c(.25, .5, .75, .9, .95)
sets <- list(
  list(name = "aml", time = "time", event = "status", is = 1, by = "x", taus = c(30, 48)),
  list(name = "lung", time = "time", event = "status", is = 2, by = NULL, taus = 365),
  list(name = "lung", time = "time", event = "status", is = 2, by = "sex", taus = 365),
  list(name = "veteran", time = "time", event = "status", is = 1, by = "trt", taus = 100),
  list(name = "waltons", time = "T", event = "E", is = 1, by = "group", taus = c(30, 60)))

digits <- function(x) ifelse(is.na(x), "", sprintf("%.17g", as.numeric(x)))
curves <- numbers <- made
number <- function(...) numbers <<- c(numbers, paste(..., sep = ","))
curves <- c(curves, paste("set,by,group,time,at_risk,events,undetected,standard_error",
  "log_log_lower,log_log_upper,log_lower,log_upper,plain_lower,plain_upper", sep = ","))
number("set,by,group,what,of,value")

for (set in sets) {
  data <- read.csv(paste0(set$name, ".csv"), check.names = FALSE)
  by <- if (is.null(set$by)) "" else set$by
  d <- data.frame(time = data[[set$time]], event = data[[set$event]] == set$is,
    group = if (by == "") "" else as.character(data[[by]]))
  for (group in unique(d$group)) {
    part <- d[d$group == group, ]
    fits <- lapply(kinds, function(kind) survfit(Surv(time, event) ~ 1, data = part, conf.type = kind))
    sums <- lapply(fits, summary)
    s <- sums[[1]]
    bands <- do.call(cbind, lapply(sums, function(s) cbind(s$lower, s$upper)))
    # Where nobody is left R has a band of NaN or of 0 to NA; it has none.
    bands[s$surv == 0, ] <- NA
    for (i in seq_along(s$time)) curves <- c(curves, paste(c(set$name, by, group, digits(s$time[i]), s$n.risk[i],
      s$n.event[i], digits(c(s$surv[i], s$std.err[i], bands[i, ]))), collapse = ","))
    number(set$name, by, group, "n", "", s$n)
    number(set$name, by, group, "events", "", sum(part$event))
    for (k in seq_along(kinds)) {
      q <- quantile(fits[[k]], probs)
      for (i in seq_along(probs)) {
        number(set$name, by, group, "estimate", probs[i], digits(q$quantile[i]))
        number(set$name, by, group, paste(kinds[k], "lower"), probs[i], digits(q$lower[i]))
        number(set$name, by, group, paste(kinds[k], "upper"), probs[i], digits(q$upper[i]))
      }
    }
    for (tau in set$taus) {
      m <- summary(fits[[1]], rmean = tau)$table
      number(set$name, by, group, "mean", tau, digits(m["rmean"]))
      number(set$name, by, group, "mean error", tau, digits(m["se(rmean)"]))
    }
  }
  if (by != "") for (rho in 0:1) {
    d$group <- factor(d$group, unique(d$group))
    z <- survdiff(Surv(time, event) ~ group, data = d, rho = rho)
    number(set$name, by, "", "chi2", rho, digits(z$chisq))
    number(set$name, by, "", "p", rho, digits(pchisq(z$chisq, length(z$n) - 1, lower.tail = FALSE)))
    number(set$name, by, levels(d$group)[1], "observed", rho, digits(z$obs[1]))
    number(set$name, by, levels(d$group)[1], "expected", rho, digits(z$exp[1]))
    number(set$name, by, levels(d$group)[1], "variance", rho, digits(z$var[1, 1]))
  }
}
writeLines(curves, "gold_curves.csv")
writeLines(numbers, "gold_numbers.csv")
