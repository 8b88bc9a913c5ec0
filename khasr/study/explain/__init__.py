"""Attribution: how much of the gap in WER between two recipes each difference between them accounts for."""
