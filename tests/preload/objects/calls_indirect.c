/* built with: -Wl,-z,now */
int indirect_function(void);

int calls_indirect(void);
int calls_indirect(void)
{
	return indirect_function() + 1;
}
