#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "preload/lock.h"

#define THREADS 8
#define ROUNDS 20000

static struct ml_lock lock;
static unsigned long sum;
static _Atomic int inside;

static void *add(void *unused)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		ml_lock_take(&lock);
		if (atomic_fetch_add(&inside, 1))
			ck_abort_msg("two threads inside");
		sum++;
		if (i % 512 == 0)
			sched_yield();
		atomic_fetch_sub(&inside, 1);
		ml_lock_drop(&lock);
	}
	return unused;
}

START_TEST(lets_one_in_at_a_time)
{
	pthread_t threads[THREADS];

	for (unsigned i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, add, NULL), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(sum, THREADS * ROUNDS);
	ck_assert_uint_eq(lock.word, 0);
}
END_TEST

static void *take_once(void *got_it)
{
	ml_lock_take(&lock);
	atomic_store((_Atomic int *)got_it, 1);
	ml_lock_drop(&lock);
	return NULL;
}

/* Every waiter sleeps, and each is woken in the end. */
START_TEST(wakes_all_that_wait)
{
	pthread_t threads[THREADS];
	static _Atomic int got[THREADS];

	ml_lock_take(&lock);
	for (unsigned i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, take_once, (void *)&got[i]), 0);
	while (atomic_load(&lock.word) != 2)
		sched_yield();
	usleep(20000);
	for (unsigned i = 0; i < THREADS; i++)
		ck_assert_int_eq(atomic_load(&got[i]), 0);
	ml_lock_drop(&lock);
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		ck_assert_int_eq(atomic_load(&got[i]), 1);
	}
	ck_assert_uint_eq(lock.word, 0);
}
END_TEST

START_TEST(is_free_after_a_reset)
{
	ml_lock_take(&lock);
	ml_lock_reset(&lock);
	ml_lock_take(&lock);
	ck_assert_uint_eq(lock.word, 1);
	ml_lock_drop(&lock);
	ck_assert_uint_eq(lock.word, 0);
}
END_TEST

/* A drop of a lock that was reset meanwhile, as in a child that was forked while it held it. */
START_TEST(can_be_dropped_twice)
{
	ml_lock_take(&lock);
	ml_lock_reset(&lock);
	ml_lock_drop(&lock);
	ml_lock_take(&lock);
	ml_lock_drop(&lock);
	ck_assert_uint_eq(lock.word, 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("lock");
	TCase *c = tcase_create("lock");
	SRunner *r = srunner_create(s);
	int failed;

	suite_add_tcase(s, c);
	tcase_add_test(c, lets_one_in_at_a_time);
	tcase_add_test(c, wakes_all_that_wait);
	tcase_add_test(c, is_free_after_a_reset);
	tcase_add_test(c, can_be_dropped_twice);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
