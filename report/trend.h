/*
 * Does a number that was looked at again and again keep growing?
 *
 * The trend is judged by the test of Mann and Kendall (H. B. Mann, Nonparametric Tests Against Trend, Econometrica 13,
 * 1945; M. G. Kendall, Rank Correlation Methods, 1975), which asks of all pairs of points whether the later one is
 * larger. It needs no shape of the growth and no distribution, but points that do not depend on each other apart from
 * the trend, and of live bytes most stay from one point to the next. Corrections of its variance are known (K. H.
 * Hamed and A. R. Rao, A Modified Mann-Kendall Trend Test for Autocorrelated Data, Journal of Hydrology 204, 1998);
 * with as few points as here, that one still took one random walk out of eight for growth.
 *
 * So where what is left without the trend depends on the point before (its ranks' autocorrelation is larger than
 * chance makes it in 1 case of 10), the steps from point to point have to go up more often than chance makes them too
 * (the sign test: W. J. Dixon and A. M. Mood, The Statistical Sign Test, Journal of the American Statistical
 * Association 41, 1946). Those of a leak do; those of what wanders do not, however far it has come. Of 2,000 random
 * walks of 32 points 28 were taken for growth, of 2,000 series of noise 2, with p at most 0.01; and 1,897 of 2,000
 * that grew by a third of the noise's deviation from point to point (tests/report/test_trend.c).
 *
 * The pace is the median of the slopes of all pairs, and its interval is made of their ranks (H. Theil, 1950; P. K.
 * Sen, Estimates of the Regression Coefficient Based on Kendall's Tau, Journal of the American Statistical Association
 * 63, 1968). A few points that are far off change neither.
 *
 * What grew and then stopped, as a cache that is full, has a trend as well. So the later half of the points has to
 * have one too (p at most 0.05), and at least a quarter of the pace. Where it has not, it has stopped; that accuses
 * nobody, so Mann and Kendall's test alone will do.
 */
#ifndef ML_REPORT_TREND_H
#define ML_REPORT_TREND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Fewer points give no verdict. From 10 on the normal distribution stands for that of S (Kendall); and then the later
 * half has 5, which is the least that can have a trend at all at 0.01: 5 points are in one order by chance in one case
 * out of 5! = 120.
 */
#define ML_TREND_POINTS_MIN 10u

enum ml_trend_verdict {
	ML_TREND_NONE,
	ML_TREND_GROWS,
	ML_TREND_STOPPED, /* it grew, and its later half does not */
};

struct ml_trend {
	enum ml_trend_verdict verdict;
	double tau;   /* of all pairs, those that go up less those that go down: 1 if all go up */
	double p;     /* how likely so much of a trend is where there is none */
	double slope; /* bytes for each 1 of x, if it grows or has stopped; as the next two, its interval of 95 % */
	double slope_low;
	double slope_high;
};

/* y at each of n places x, in order. p has to be at most alpha. */
void ml_trend_judge(struct ml_trend *trend, const double *x, const uint64_t *y, size_t n, double alpha);

#endif
