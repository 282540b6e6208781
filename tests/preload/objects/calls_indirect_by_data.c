/* built with: -Wl,-z,now -fno-plt */
/* As calls_indirect.c, but the calls go through words that are relocated as data, with one behind that stays 0. */
int calls_indirect(void);
int indirect_function(void);
int zz_missing_function(void) __attribute__((weak));

int calls_indirect(void)
{
	return indirect_function() + (zz_missing_function ? zz_missing_function() : 1);
}
