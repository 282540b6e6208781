#include "report/trend.h"

#include <math.h>
#include <stdlib.h>

#include "report/memory.h"

/* Of the later half, and how much of the pace it has to have. */
#define LATE_P 0.05
#define LATE_PACE 0.25

/* 95 % and 80 % of the normal distribution lie within so many of its deviations. */
#define Z95 1.959963984540054
#define Z80 1.281551565544600

/* Kendall's S and its variance where the points are independent, ties considered. */
struct kendall {
	double s;
	double variance;
};

static int compare_numbers(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return (a > b) - (a < b);
}

/* What groups of t equal values take from n(n - 1)(2n + 5). */
static double ties(const uint64_t *y, size_t n)
{
	double *sorted = ml_memory_get(n, sizeof(*sorted)), sum = 0;
	size_t from, to;

	for (from = 0; from < n; from++)
		sorted[from] = (double)y[from];
	qsort(sorted, n, sizeof(*sorted), compare_numbers);
	for (from = 0; from < n; from = to) {
		double t;
		for (to = from + 1; to < n && sorted[to] <= sorted[from]; to++)
			continue;
		t = (double)(to - from);
		sum += t * (t - 1) * (2 * t + 5);
	}
	free(sorted);
	return sum;
}

static struct kendall kendall(const uint64_t *y, size_t n)
{
	double size = (double)n;
	struct kendall k = {0, (size * (size - 1) * (2 * size + 5) - ties(y, n)) / 18};
	size_t i, j;

	for (i = 0; i < n; i++)
		for (j = i + 1; j < n; j++)
			k.s += (y[j] > y[i]) - (y[j] < y[i]);
	return k;
}

/* That S is so large by chance, with the correction for its steps of two. */
static double chance(const struct kendall *k)
{
	return k->s > 0 ? erfc((k->s - 1) / sqrt(2 * k->variance)) / 2 : 1;
}

/* That so many of the steps that are none of 0 go up by chance. */
static double chance_of_signs(const uint64_t *y, size_t n)
{
	size_t ups = 0, downs = 0, i;
	double p = 0, term;

	for (i = 1; i < n; i++) {
		ups += y[i] > y[i - 1];
		downs += y[i] < y[i - 1];
	}
	/* C(steps, i) / 2^steps, from i = steps downwards: as many terms as steps go down, and one */
	term = pow(0.5, (double)(ups + downs));
	for (i = 0; i <= downs; i++) {
		p += term;
		term *= (double)(ups + downs - i) / (double)(i + 1);
	}
	return p;
}

/* Slopes of all pairs in order, which the caller frees. */
static double *slopes_of(const double *x, const uint64_t *y, size_t n, size_t *pairs)
{
	double *slopes = ml_memory_get(n * n / 2, sizeof(*slopes));
	size_t i, j;

	*pairs = 0;
	for (i = 0; i < n; i++)
		for (j = i + 1; j < n; j++)
			if (x[j] > x[i])
				slopes[(*pairs)++] = ((double)y[j] - (double)y[i]) / (x[j] - x[i]);
	qsort(slopes, *pairs, sizeof(*slopes), compare_numbers);
	return slopes;
}

static double median(const double *sorted, size_t n)
{
	return n ? (sorted[(n - 1) / 2] + sorted[n / 2]) / 2 : 0;
}

/* The one with that rank, from 0, or the nearest there is. */
static double ranked(const double *sorted, size_t n, double rank)
{
	return n ? sorted[rank < 0 ? 0 : rank >= (double)n ? n - 1 : (size_t)rank] : 0;
}

/* Ranks of what is left of y without its trend, to the byte; their mean taken off. The caller frees them. */
static double *residual_ranks(const double *x, const uint64_t *y, size_t n, double slope)
{
	double *left = ml_memory_get(n, sizeof(*left)), *ranks = ml_memory_get(n, sizeof(*ranks));
	size_t i, j;

	for (i = 0; i < n; i++)
		left[i] = nearbyint((double)y[i] - (double)y[0] - slope * (x[i] - x[0]));
	for (i = 0; i < n; i++)
		for (j = 0; j < n; j++)
			ranks[i] += ((left[j] < left[i]) - (left[j] > left[i])) / 2.0;
	free(left);
	return ranks;
}

static double autocovariance(const double *ranks, size_t n, size_t lag)
{
	double sum = 0;
	size_t i;

	for (i = 0; i + lag < n; i++)
		sum += ranks[i] * ranks[i + lag];
	return sum;
}

/* Does what is left of a point depend on what is left of the one before? */
static bool dependent(const double *x, const uint64_t *y, size_t n, double slope)
{
	double *ranks = residual_ranks(x, y, n, slope);
	double first = autocovariance(ranks, n, 1), variance = autocovariance(ranks, n, 0);

	free(ranks);
	return variance > 0 && first / variance > Z80 / sqrt((double)n);
}

/* The pace is that of all points, or from the first to the last one where this is more: where most of the run is level,
   most pairs are. */
static bool still_grows(const double *x, const uint64_t *y, size_t n, double slope)
{
	size_t half = n / 2, pairs;
	struct kendall k = kendall(y + half, n - half);
	double *slopes, late, pace = fmax(slope, ((double)y[n - 1] - (double)y[0]) / (x[n - 1] - x[0]));

	if (chance(&k) > LATE_P)
		return false;
	slopes = slopes_of(x + half, y + half, n - half, &pairs);
	late = median(slopes, pairs);
	free(slopes);
	return late > 0 && late >= pace * LATE_PACE;
}

void ml_trend_judge(struct ml_trend *trend, const double *x, const uint64_t *y, size_t n, double alpha)
{
	struct kendall k;
	double *slopes, spread;
	size_t pairs;

	*trend = (struct ml_trend){.p = 1};
	if (n < ML_TREND_POINTS_MIN)
		return;
	k = kendall(y, n);
	trend->tau = k.s / ((double)n * (double)(n - 1) / 2);
	trend->p = chance(&k);
	if (trend->p > alpha)
		return;
	slopes = slopes_of(x, y, n, &pairs);
	trend->slope = median(slopes, pairs);
	spread = Z95 * sqrt(k.variance);
	trend->slope_low = ranked(slopes, pairs, floor(((double)pairs - spread) / 2));
	trend->slope_high = ranked(slopes, pairs, ceil(((double)pairs + spread) / 2));
	free(slopes);
	if (!still_grows(x, y, n, trend->slope)) {
		trend->verdict = ML_TREND_STOPPED;
		return;
	}
	if (dependent(x, y, n, trend->slope))
		trend->p = fmax(trend->p, chance_of_signs(y, n));
	if (trend->p <= alpha)
		trend->verdict = ML_TREND_GROWS;
}
