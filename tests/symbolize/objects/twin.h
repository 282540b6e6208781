/* What the twins have in common: the same layout, so that one fits where another was. */
int twin_function(int n);
int twin_function(int n)
{
	return n + 1;
}
