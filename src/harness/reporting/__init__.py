"""The report, its pictures and the experiment tracker."""
